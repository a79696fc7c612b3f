"""What do audits, measures and selectors find of defects and tasks planted in a pool of real rows?

    python experiments/planted_pool.py --data ../shared/data [--rows 1500] [--out runs/planted_pool]

Needs `alpaca_pool`, `dolly_3k` and `gsm8k_train` in the data folder and the extra `local`. Everything
that a model computes is kept in `runs/.store` of the folder it is started in, so a run that was
stopped goes on there. Tables are in `OUT/tables.md` and `OUT/results.json` after every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from concordance import Flags, Ints, auc_by_chance, auc_interval, length_bins, overlap, share
from edited import edited_pool
from methods import METHODS, SCORES, Method, Score, scores_of, selections, with_columns, words_of
from planting import CLEAN, COPIES, COPY, LEAK, LEAKS, SHUFFLED, Planted, ordered, plant
from tables import Cell, Tables
from treadle import Row, audit_rows, load
from treadle.data.pool import Pool
from treadle.data.randomness import derived_rng
from treadle.data.row import column

TASKS = ("gsm8k", "dolly classification")
AUDITED: dict[str, dict[str, object]] = {
    "exact_duplicates": {}, "contamination": {}, "near_duplicates": {}, "semantic_duplicates": {},
    "paraphrase_contamination": {},
}  # fmt: skip
EDITED = "Copies and leaks by share of words changed"
QUALITY = "Shuffled replies: what scores tell"
KEPT = "Shuffled replies: what selections keep"
COPIED = "Near duplicates: what selections keep"


def read_base(data: Path, most_words: int) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Return real rows by source, and those of the hidden tasks, all of at most so many words."""
    alpaca = load(str(data / "alpaca_pool" / "pool.part*.jsonl"), layout="alpaca").pool
    dolly = load(str(data / "dolly_3k" / "dolly_3k.json"), layout="alpaca").pool
    gsm8k = load(str(data / "gsm8k_train" / "train.jsonl"), layout="prompt_completion").pool
    category = column(dolly.frame, "category")
    assert category is not None
    marked = dict(zip(dolly.ids, (category == "classification").to_list(), strict=True))
    base = {
        "alpaca": alpaca.rows(),
        "dolly": [row for row in dolly.rows() if not marked[row.id]],
    }
    hidden = {
        TASKS[0]: gsm8k.rows(),
        TASKS[1]: [row for row in dolly.rows() if marked[row.id]],
    }

    def short(groups: dict[str, list[Row]]) -> dict[str, list[Row]]:
        return {
            name: [row for row in rows if words_of(row) <= most_words and row.reply.strip()]
            for name, rows in groups.items()
        }

    return short(base), short(hidden)


class Experiment:
    """The planted pool with its features, and the tables so far."""

    def __init__(self, planted: Planted, tables: Tables, seed: int, progress: bool) -> None:
        self.planted, self.tables, self.seed, self.progress = planted, tables, seed, progress
        self.kinds = np.array([planted.kinds[key] for key in planted.pool.ids])
        groups = pl.DataFrame({"id": planted.pool.ids}).with_columns(
            group=pl.col("id").replace_strict(planted.sources)
        )
        self.pool = with_columns(planted.pool, groups)
        self.scores = groups.select("id")
        self.lengths = np.zeros(0)

    def rng(self, *names: object) -> np.random.Generator:
        return derived_rng(self.seed, "planted_pool", *names)

    def audits(self) -> None:
        """Show what each audit flags of each kind of row (`profile` finds nothing by design)."""
        findings = self._audited(self.pool)
        table: list[dict[str, Cell]] = []
        for kind, ids in self._planted():
            row: dict[str, Cell] = {"planted": kind, "rows": len(ids)}
            for name, rows in findings.items():
                row[name] = share(len(hits(ids, rows, self.planted.copies)), len(ids))
            table.append(row)
        clean = [key for key, kind in self.planted.kinds.items() if kind not in (COPY, LEAK)]
        last: dict[str, Cell] = {
            "planted": "neither copy nor leak: false flags",
            "rows": len(clean),
        }
        strange: list[dict[str, Cell]] = []
        texts = {row.id: row.text for row in self.pool.rows()}
        for name, rows in findings.items():
            false = [one for one in rows.iter_rows(named=True) if self._is_false(one)]
            last[name] = share(len(false), len(clean))
            strange += [
                {"audit": name, "kind": self.planted.kinds[one["id"]], "other": one["other"],
                 "row": texts[one["id"]][:100].replace("\n", " ").replace("|", "/")}
                for one in false
            ]  # fmt: skip
        self.tables.put(
            "Audits", [*table, last],
            "Shares flagged, with 95% Wilson intervals. A copy counts as found if it, or the row that it "
            "repeats, is flagged for likeness to the other.",
        )  # fmt: skip
        self.tables.put("Flags on rows that are neither copy nor leak", strange)

    def edited(self) -> None:
        """Show what audits find of copies and leaks by the share of their words that was changed."""
        made = edited_pool(self.planted, self.seed)
        findings = self._audited(made.pool)
        table: list[dict[str, Cell]] = []
        for (kind, way), ids in made.groups.items():
            row: dict[str, Cell] = {"planted": f"{kind}, {way}", "rows": len(ids)}
            for name, rows in findings.items():
                row[name] = share(len(hits(ids, rows, made.copies)), len(ids))
            table.append(row)
        self.tables.put(
            EDITED, table,
            "A pool of the clean rows with copies of some of them and with evaluation items, in which "
            "so many words were replaced by words of other rows: in copies those of the reply, in leaks "
            "those of prompt and reply. Shares flagged, with 95% Wilson intervals.",
        )  # fmt: skip

    def _audited(self, pool: Pool) -> dict[str, pl.DataFrame]:
        """The findings of each audit, and the suspicions of those that have any."""
        found = audit_rows(
            pool, against={"items": self.planted.items}, ops=AUDITED, progress=self.progress
        )
        rows = {name: one.rows for name, one in found.items()}
        doubts = {f"{n}, suspected": f.suspicions for n, f in found.items() if f.suspicions.height}
        return {**rows, **doubts}

    def _planted(self) -> list[tuple[str, list[str]]]:
        planted = self.planted
        made = [(kind, way) for kind, ways in ((COPY, COPIES), (LEAK, LEAKS)) for way in ways]
        groups = [
            (f"{kind}, {way}", [key for key in planted.ids(kind) if planted.ways[key] == way])
            for kind, way in made
        ]
        return [*groups, (SHUFFLED, planted.ids(SHUFFLED))]

    def _is_false(self, finding: dict[str, object]) -> bool:
        """Whether a flag names neither a planted row nor the row that a copy repeats."""
        key = str(finding["id"])
        is_repeated = self.planted.copies.get(str(finding["other"])) == key
        return self.planted.kinds[key] not in (COPY, LEAK) and not is_repeated

    def measure(self, scores: Sequence[Score]) -> None:
        """Measure scores of the whole pool, and show what they tell of shuffled replies."""
        found = scores_of(self.pool, scores, progress=self.progress)
        self.scores = self.scores.join(found, on="id", how="left").sort("id")
        self.lengths = self.scores["length"].fill_null(0).to_numpy().astype(np.float64)
        self.pool = with_columns(self.pool, found)

    def quality(self, costly: pl.DataFrame | None = None) -> None:
        """AUROC of shuffled against clean rows for each score."""
        rows = [
            self._auc(score.label, self.scores)
            for score in SCORES
            if score.label in self.scores.columns
        ]
        if costly is not None:
            rows += [self._auc(name, costly) for name in costly.columns if name != "id"]
        self.tables.put(
            QUALITY, rows,
            "AUROC that a shuffled row scores higher than a clean one (0.5: no signal; below: lower), "
            "95% bootstrap. Matched: against clean rows with replies of the same length, and the 95% "
            "that marks dealt out within lengths give.",
        )  # fmt: skip

    def _auc(self, name: str, scores: pl.DataFrame) -> dict[str, Cell]:
        kinds = np.array([self.planted.kinds[key] for key in scores["id"]])
        position = {key: i for i, key in enumerate(self.pool.ids)}
        lengths = self.lengths[[position[key] for key in scores["id"]]]
        is_known = scores[name].is_not_null().to_numpy() & np.isin(kinds, (SHUFFLED, CLEAN))
        values = scores[name].fill_null(0).to_numpy().astype(np.float64)[is_known]
        marked = kinds[is_known] == SHUFFLED
        bins = length_bins(lengths[is_known], marked, most=10)
        chance, p = auc_by_chance(values, marked, self.rng("chance", name), bins=bins)
        return {
            "score": name,
            "shuffled": int(marked.sum()),
            "clean": int((~marked).sum()),
            "AUROC": auc_interval(values, marked, self.rng("auc", name)),
            "matched": auc_interval(values, marked, self.rng("matched", name), bins=bins),
            "chance": f"{chance.low:.3f} to {chance.high:.3f}",
            "p": p,
        }

    def keep(self, methods: Sequence[Method], shares: Sequence[float]) -> None:
        """Which shuffled rows and copies do selections without a target keep?"""
        kept: list[dict[str, Cell]] = []
        copies: list[dict[str, Cell]] = []
        shuffled = self.kinds == SHUFFLED
        bins = length_bins(self.lengths, shuffled, most=10)
        for method in methods:
            for part in shares:
                draws = selections(self.pool, method, round(part * len(self.pool)))
                chosen = [np.isin(self.pool.ids, one.ids) for one in draws]
                if part == shares[0]:
                    kept.append(self._kept(method, chosen, shuffled, bins))
                copies.append(self._copied(method, part, chosen))
            self.tables.put(
                KEPT, kept,
                f"At a budget of {shares[0]:.0%} of the rows. Kept: the share of the shuffled rows that is "
                "chosen (95% Wilson). Lift: against chance. Lift at equal lengths: against chance within "
                "bins of reply length, where chance gives the range shown.",
            )  # fmt: skip
            self.tables.put(
                COPIED, copies,
                "Pairs of a row and its near copy. Both kept: share of pairs; chance: what random rows "
                "give; rows chosen: fewer than the budget where a method stops by itself.",
            )  # fmt: skip

    def _kept(
        self, method: Method, chosen: Sequence[Flags], shuffled: Flags, bins: Ints
    ) -> dict[str, Cell]:
        found = [overlap(one, shuffled, bins, self.rng("kept", method.label)) for one in chosen]
        count = len(found)
        common = sum(one.common for one in found) / count
        expected = sum(one.expected for one in found) / count
        matched = sum(one.matched.value for one in found) / count
        return {
            "method": method.label,
            "chosen": sum(one.chosen for one in found) / count,
            "kept": share(common, int(shuffled.sum())),
            "lift": common / expected,
            "lift at equal lengths": common / matched if matched else None,
            "chance": f"{found[0].matched.low / found[0].matched.value:.2f} to "
            f"{found[0].matched.high / found[0].matched.value:.2f}",
        }

    def _copied(self, method: Method, part: float, chosen: Sequence[Flags]) -> dict[str, Cell]:
        position = {key: i for i, key in enumerate(self.pool.ids)}
        pairs = [(position[a], position[b]) for a, b in self.planted.copies.items()]
        both = np.mean([[one[a] and one[b] for a, b in pairs] for one in chosen])
        either = np.mean([[one[a] or one[b] for a, b in pairs] for one in chosen])
        size = float(np.mean([one.sum() for one in chosen]))
        total = len(self.pool)
        return {
            "method": method.label,
            "budget": f"{part:.0%}",
            "chosen": size,
            "both kept": share(float(both) * len(pairs), len(pairs)),
            "chance": size * (size - 1) / (total * (total - 1)),
            "one or both kept": share(float(either) * len(pairs), len(pairs)),
        }

    def targets(self, methods: Sequence[Method]) -> None:
        """How much of a hidden task does each selector find, given a few rows of the same task?"""
        for task, target in self.planted.targets.items():
            hidden = self.kinds == task
            k = int(hidden.sum())
            rows: list[dict[str, Cell]] = []
            for method in methods:
                row: dict[str, Cell] = {"method": method.label}
                for times in (1, 2):
                    draws = selections(self.pool, method, times * k, target=target)
                    flags = [np.isin(self.pool.ids, one.ids) for one in draws]
                    hits = float(np.mean([(one & hidden).sum() for one in flags]))
                    size = float(np.mean([one.sum() for one in flags]))
                    row[f"recall at {times * k}"] = share(hits, k)
                    row[f"precision at {times * k}"] = share(hits, round(size)) if size else None
                rows.append(row)
                self.tables.put(
                    f"Hidden task: {task}", rows,
                    f"{k} of {len(self.pool)} rows, {len(target)} target rows. Chance finds "
                    f"{k / len(self.pool):.3f} of them at {k}. 95% Wilson intervals; methods that draw: "
                    "mean of 3 seeds.",
                )  # fmt: skip

    def costly(self, count: int) -> pl.DataFrame:
        """Measure what costs many passes on all shuffled rows and as many clean ones."""
        groups = [
            ordered(
                [row for row in self.pool.rows() if self.planted.kinds[row.id] == kind], "costly"
            )
            for kind in (SHUFFLED, CLEAN)
        ]
        few = self.planted.pool.keep(row.id for group in groups for row in group[:count])
        frame = few.frame.select("id")
        for score in (one for one in SCORES if one.costly):
            found = scores_of(few, [score], progress=self.progress)
            frame = frame.join(found, on="id", how="left").sort("id")
            self.quality(frame)
        return frame


def hits(ids: Sequence[str], rows: pl.DataFrame, copies: Mapping[str, str]) -> list[str]:
    """Which rows are flagged, or are what the flag of the row that they repeat names."""
    pairs = dict(zip(rows["id"], rows["other"], strict=True))
    return [key for key in ids if key in pairs or pairs.get(copies.get(key, "")) == key]


def report_kinds(planted: Planted) -> list[dict[str, Cell]]:
    kinds = list(planted.kinds.values())
    return [{"kind": kind, "rows": kinds.count(kind)} for kind in dict.fromkeys(sorted(kinds))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--rows", type=int, default=1500, help="rows of the pool (1500)")
    parser.add_argument("--most-words", type=int, default=150, help="words of a row at most (150)")
    parser.add_argument(
        "--costly", type=int, default=150, help="rows a kind for costly scores (150)"
    )
    parser.add_argument(
        "--skip",
        nargs="*",
        default=[],
        choices=["student", "gradient", "costly", "scores"],
        help="scores: nothing but the audits",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/planted_pool"))
    given = parser.parse_args()
    base, hidden = read_base(given.data, given.most_words)
    planted = plant(base, hidden, homes={TASKS[1]: "dolly"}, rows=given.rows, seed=given.seed)
    about = {"rows": len(planted.pool), "pool": planted.pool.id, "items": len(planted.items),
             "seed": given.seed, "most_words": given.most_words}  # fmt: skip
    experiment = Experiment(planted, Tables(given.out, about), given.seed, progress=True)
    experiment.tables.put("The pool", report_kinds(planted))
    run(experiment, given.skip, given.costly)
    print(f"Written: {given.out / 'tables.md'}, {given.out / 'results.json'}")


def run(experiment: Experiment, skip: Sequence[str], costly: int) -> None:
    """Cheap steps first; each one's tables are there before the next begins."""
    experiment.audits()
    experiment.edited()
    if "scores" in skip:
        return
    is_late = {"student": "hidden_state", "gradient": "gradient"}
    with_student = "student" not in skip
    experiment.measure(
        [one for one in SCORES if not one.costly and (with_student or not one.needs_student)]
    )
    experiment.quality()
    known = {"embedding", *experiment.scores.columns}
    if with_student:
        known |= {late for name, late in is_late.items() if name not in skip}
    able = [one for one in METHODS if set(one.reads) <= known]
    able.sort(key=lambda one: "gradient" in one.reads)
    experiment.keep([one for one in able if one.family != "target"], (0.3, 0.7))
    baselines = [one for one in able if one.family == "baseline"]
    experiment.targets([*baselines, *(one for one in able if one.family == "target")])
    if "costly" not in skip and with_student:
        experiment.quality(experiment.costly(costly))


if __name__ == "__main__":
    main()
