"""How far do our scores and selections agree with two published selections of Alpaca rows?

    python experiments/published_selections.py --data ../shared/data [--sample 3000]

`alpaca_pool/selected_by.jsonl` says of each of 9,229 Alpaca rows whether two published selections hold
it: `helpful45` (a helpfulness score of 4.5 or more) and `cherry5` (the top 6% by IFD). What needs no
pass of the student is compared on all rows; what needs one or two, on a plain random sample, where
every figure is an unbiased estimate; what needs many, on as many rows of each of three strata, each row
with the weight of those it stands for, so that AUCs are still those of the pool.

Needs `alpaca_pool` and `self_instruct_seeds` in the data folder and the extras `local` and `text`.
What was computed is kept in `runs/.store` of the folder it is started in; a run that was stopped goes
on there. Tables are in `OUT/tables.md` and `OUT/results.json` after every step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from concordance import (
    Flags,
    Floats,
    auc_by_chance,
    auc_interval,
    jaccard,
    length_bins,
    overlap,
    share,
)
from methods import METHODS, SCORES, Method, scores_of, selections, with_columns
from planting import ordered, pair
from tables import Cell, Tables
from treadle import Pool, load
from treadle.data.randomness import derived_rng

PUBLISHED = ("helpful45", "cherry5")
SHARE = 0.06
SCORE_NOTE = (
    "AUC: the chance that a row of the published selection scores higher than one outside it (0.5: no "
    "agreement), 95% bootstrap. Matched: held against rows with replies of the same length (bins that "
    "hold equally many published rows); chance: the 95% of matched AUCs when the marks are dealt out "
    "anew within lengths; p: two-sided, from these. The first line is what length alone reaches: any "
    "score that likes long replies gets as much."
)
METHOD_NOTE = (
    "As many rows as the published selection has. Precision: the share of them that it holds too (95% "
    "Wilson). Lift: against chance; p: hypergeometric, one-sided. Lift at equal lengths: against rows "
    "drawn by chance with the reply lengths of the chosen ones, and the 95% range of such draws. "
    "Methods that draw: the first seed; random: its luck shows what a lift is worth."
)


def read_marks(data: Path, pool: Pool) -> dict[str, Flags]:
    """Return, in the order of the pool, which rows each published selection holds."""
    lines = (data / "alpaca_pool" / "selected_by.jsonl").read_text(encoding="utf-8").split("\n")
    marks = {one["id"]: one for one in map(json.loads, filter(None, lines))}
    users = pool.frame["origins"].list.first().struct.field("id").to_list()
    return {name: np.array([marks[user][name] for user in users]) for name in PUBLISHED}


def read_seeds(data: Path) -> Pool:
    """Return the human-written seed tasks of Self-Instruct, which Alpaca was made from."""
    path = data / "self_instruct_seeds" / "seed_tasks.jsonl"
    tasks = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    pairs = [
        pair("\n\n".join(filter(None, [task["instruction"], one["input"]])), one["output"])
        for task in tasks
        for one in task["instances"][:1]
        if one["output"].strip()
    ]
    return Pool.of(pairs)


class Comparison:
    """One set of rows with its marks, scores and selections."""

    def __init__(
        self, name: str, pool: Pool, marks: Mapping[str, Flags], target: Pool, tables: Tables
    ) -> None:
        self.name, self.marks, self.target, self.tables = name, marks, target, tables
        groups = ["one line" if "\n" not in text else "several lines" for text in _asked(pool)]
        frame = pl.DataFrame({"id": pool.ids, "group": groups})
        self.pool, self.scores = with_columns(pool, frame), pool.frame.select("id")
        self.bins: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}

    def measure(self, *, with_student: bool) -> None:
        """Measure every score that is not costly, one by one, and show each at once."""
        for score in SCORES:
            if score.costly or (score.needs_student and not with_student):
                continue
            found = scores_of(self.pool, [score], progress=True)
            self.scores = self.scores.join(found, on="id", how="left").sort("id")
            if score.label == "length":
                lengths = found["length"].fill_null(0).to_numpy().astype(np.float64)
                self.bins = {
                    name: length_bins(lengths, mark, most=max(2, min(20, int(mark.sum()) // 10)))
                    for name, mark in self.marks.items()
                }
            self._show_scores()
        self.pool = with_columns(self.pool, self.scores)

    def _show_scores(self) -> None:
        for name, marked in self.marks.items():
            rows = []
            for label in self.scores.columns[1:]:
                is_known = self.scores[label].is_not_null().to_numpy()
                values = self.scores[label].fill_null(0).to_numpy().astype(np.float64)[is_known]
                marks, bins = marked[is_known], self.bins[name][is_known]
                rng = derived_rng("published", self.name, name, label)
                chance, p = auc_by_chance(values, marks, rng, bins=bins)
                row: dict[str, Cell] = {
                    "score": label,
                    "scored": len(values),
                    "AUC": auc_interval(values, marks, rng),
                    "matched": auc_interval(values, marks, rng, bins=bins),
                    "chance": f"{chance.low:.3f} to {chance.high:.3f}",
                    "p": p,
                }
                rows.append(row)
            count = f"{int(marked.sum())} of {len(self.pool)} rows are in {name}."
            self.tables.put(f"Scores against {name}, {self.name}", rows, f"{count} {SCORE_NOTE}")

    def select(self, methods: Sequence[Method]) -> dict[str, Flags]:
        """Compare selections with each published one; return those of `SHARE` of the rows."""
        tables: dict[str, list[dict[str, Cell]]] = {name: [] for name in self.marks}
        chosen = {}
        for method in methods:
            for name, marked in self.marks.items():
                flags = self._chosen(method, int(marked.sum()))
                tables[name].append(self._overlap(method, name, flags))
                count = f"{int(marked.sum())} of {len(self.pool)} rows are in {name}."
                self.tables.put(
                    f"Selections against {name}, {self.name}", tables[name],
                    f"{count} {METHOD_NOTE}",
                )  # fmt: skip
            chosen[method.label] = self._chosen(method, round(SHARE * len(self.pool)))
        return chosen

    def _chosen(self, method: Method, keep: int) -> Flags:
        target = self.target if method.family == "target" else None
        first = selections(self.pool, method, keep, target=target, only_first=True)[0]
        return np.isin(self.pool.ids, first.ids)

    def _overlap(self, method: Method, name: str, chosen: Flags) -> dict[str, Cell]:
        rng = derived_rng("overlap", self.name, name, method.label)
        found = overlap(chosen, self.marks[name], self.bins[name], rng)
        mean = found.matched.value
        by_chance = (
            f"{found.matched.low / mean:.2f} to {found.matched.high / mean:.2f}" if mean else "–"
        )
        return {
            "method": method.label,
            "chosen": found.chosen,
            "common": found.common,
            "precision": share(found.common, found.chosen),
            "Jaccard": found.jaccard,
            "by chance": found.expected_jaccard,
            "lift": found.lift,
            "p": found.p,
            "lift at equal lengths": found.matched_lift,
            "range of chance": by_chance,
            "p at equal lengths": found.matched_p,
        }

    def agreement(self, chosen: Mapping[str, Flags]) -> None:
        """Show the Jaccard similarity of each pair of selections, published ones included."""
        sets = {**{f"published: {name}": mark for name, mark in self.marks.items()}, **chosen}
        rows = []
        for i, (label, mine) in enumerate(sets.items(), 1):
            row: dict[str, Cell] = {"no": i, "selection": label}
            for j, other in enumerate(sets.values(), 1):
                common = int((mine & other).sum())
                value = jaccard(int(mine.sum()), int(other.sum()), common)
                row[str(j)] = "" if i == j else f"{value:.2f}"
            rows.append(row)
        k = round(SHARE * len(self.pool))
        self.tables.put(
            f"Agreement of selections, {self.name}", rows,
            f"Jaccard similarity of selections of {k} rows ({SHARE:.0%}); two random ones of that size have "
            f"{jaccard(k, k, k * k / len(self.pool)):.3f}. Published selections have their own sizes.",
        )  # fmt: skip


def _asked(pool: Pool) -> list[str]:
    return ["\n".join(turn.content for turn in row.prompt) for row in pool.rows()]


def costly(pool: Pool, marks: Mapping[str, Flags], count: int, tables: Tables) -> None:
    """Compare costly scores on `count` rows of each of three strata, weighted back to the pool."""
    helpful, cherry = (marks[name] for name in PUBLISHED)
    stratum = dict(
        zip(pool.ids, np.where(helpful, 0, np.where(cherry, 1, 2)).tolist(), strict=True)
    )
    groups = [[row for row in pool.rows() if stratum[row.id] == s] for s in range(3)]
    few = pool.keep(row.id for group in groups for row in ordered(group, "costly")[:count])
    strata = np.array([stratum[key] for key in few.ids])
    weights: Floats = np.array([len(groups[s]) / (strata == s).sum() for s in strata])
    position = {key: i for i, key in enumerate(pool.ids)}
    mine = np.array([position[key] for key in few.ids])
    found = few.frame.select("id")
    for score in [SCORES[0], *(one for one in SCORES if one.costly)]:
        found = found.join(scores_of(few, [score], progress=True), on="id", how="left").sort("id")
        lengths = found["length"].fill_null(0).to_numpy().astype(np.float64)
        for name in PUBLISHED:
            marked = marks[name][mine]
            bins = length_bins(lengths, marked, most=6)
            rows = []
            for label in found.columns[1:]:
                known = found[label].is_not_null().to_numpy()
                values = found[label].fill_null(0).to_numpy().astype(np.float64)[known]
                rng = derived_rng("costly", name, label)
                plain, matched = (
                    auc_interval(
                        values, marked[known], rng, bins=within, weights=weights[known],
                        strata=strata[known],
                    )
                    for within in (None, bins[known])
                )  # fmt: skip
                row: dict[str, Cell] = {
                    "score": label, "scored": len(values), "AUC": plain, "matched": matched,
                }  # fmt: skip
                rows.append(row)
            tables.put(
                f"Costly scores against {name}, weighted sample", rows,
                f"{len(few)} rows, {int(marked.sum())} of them in {name}, weighted to the {len(pool)} rows "
                "of the pool; 95% bootstrap within strata. Matched: within 6 bins of reply length.",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--rows", type=int, help="of the pool, by chance (all)")
    parser.add_argument(
        "--sample", type=int, default=3000, help="rows that the student reads (3000)"
    )
    parser.add_argument(
        "--costly", type=int, default=150, help="rows a stratum, costly scores (150)"
    )
    parser.add_argument("--skip", nargs="*", default=[], choices=["student", "hidden", "costly"])
    parser.add_argument("--out", type=Path, default=Path("runs/published_selections"))
    given = parser.parse_args()
    pool = load(str(given.data / "alpaca_pool" / "pool.part*.jsonl"), layout="alpaca").pool
    if given.rows:
        pool = pool.keep(row.id for row in ordered(pool.rows(), "rows")[: given.rows])
    marks, target = read_marks(given.data, pool), read_seeds(given.data)
    tables = Tables(given.out, {"pool": pool.id, "rows": len(pool), "sample": given.sample})
    whole = Comparison("all rows", pool, marks, target, tables)
    whole.measure(with_student=False)
    able = {"embedding", *whole.scores.columns}
    whole.agreement(whole.select([one for one in METHODS if set(one.reads) <= able]))
    if "student" not in given.skip:
        rows = pool.keep(row.id for row in ordered(pool.rows(), "sample")[: given.sample])
        inside = np.isin(pool.ids, rows.ids)
        part = {name: mark[inside] for name, mark in marks.items()}
        sample = Comparison("sample", rows, part, target, tables)
        sample.measure(with_student=True)
        able |= {*sample.scores.columns, *([] if "hidden" in given.skip else ["hidden_state"])}
        sample.agreement(sample.select([one for one in METHODS if set(one.reads) <= able]))
        if "costly" not in given.skip:
            costly(pool, marks, given.costly, tables)
    print(f"Written: {given.out / 'tables.md'}, {given.out / 'results.json'}")


if __name__ == "__main__":
    main()
