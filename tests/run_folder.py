"""A made-up run folder, complete and with counts that add up, for the tests of the report.

Everything follows from a seed. The texts are built from word lists, so that the page can be looked
at with something on it that reads like instruction data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from treadle.data.pool import Pool, save_pool, to_parquet
from treadle.data.row import Message, Origin, Row
from treadle.data.selection import FINDING_SCHEMA
from treadle.data.verdict import RESULT_SCHEMA, Arm, Comparison, Decision, Verdict
from treadle.machinery.ledger import Ledger

FINDINGS = {"id": pl.String, "op": pl.String} | FINDING_SCHEMA
TOPICS = [
    "soil erosion",
    "tidal power",
    "bread dough",
    "noise in city streets",
    "the printing press",
    "solar panels",
    "queueing theory",
    "migrating birds",
    "vaccination",
    "glass recycling",
    "chess openings",
    "river deltas",
    "sleep and memory",
    "bicycle gears",
    "medieval trade",
    "password managers",
    "volcanic ash",
    "choir singing",
]
READERS = [
    "a ten-year-old",
    "a busy manager",
    "a new colleague",
    "a sceptical friend",
    "a first-year student",
]
VERBS = [
    "shapes",
    "limits",
    "explains",
    "drives",
    "follows from",
    "hides behind",
    "depends on",
    "competes with",
]
THINGS = [
    "water",
    "price",
    "habit",
    "heat",
    "time",
    "trust",
    "weight",
    "light",
    "distance",
    "pressure",
    "chance",
    "skill",
    "timing",
    "scale",
    "friction",
    "memory",
    "balance",
    "evidence",
    "attention",
    "storage",
]
ASKS = (
    "Explain {topic} to {reader} in {n} sentences.",
    "List {n} common misconceptions about {topic}.",
    "Write a short e-mail to {reader} that argues for more attention to {topic}.",
    "Give {n} arguments for and against public money for {topic}.",
    "Summarise what is known about {topic} for {reader}.",
    "Which {n} questions would you ask an expert on {topic}?",
)
SENTENCES = (
    "In most accounts of {topic}, {a} {verb} {b}.",
    "That is easy to overlook, because {b} is seldom measured.",
    "Where {a} is scarce, {c} takes its place.",
    "A useful test is to ask what would happen without {c}.",
    "People who work on {topic} usually begin with {a} and only later come to {b}.",
    "The figures that are quoted most often come from one study of {n} cases.",
    "None of this means that {a} alone {verb} the outcome.",
)
ARMS = (
    ("selected", "tested", 0.052, 3),
    ("random", "control", 0.0, 3),
    ("longest", "control", 0.021, 3),
    ("full", "reference", 0.058, 1),
    ("before", "incumbent", -0.21, 1),
)
SENTENCE = {
    "accept": "Accept: the selected rows beat random rows of equal tokens by {0:.3f} nats a token, and "
    "the interval lies above zero for every control.",
    "hold": "Hold: the selected rows are {0:.3f} nats a token ahead of random rows, but the interval "
    "includes zero, so chance could explain it.",
    "roll_back": "Roll back: the selected rows are {0:.3f} nats a token behind random rows of equal "
    "tokens, and chance is an unlikely explanation.",
}


@dataclass(frozen=True)
class Hostile:
    """Texts to put wherever a run folder holds text that its user did not write."""

    texts: Sequence[str] = field(default_factory=list)

    def text(self, i: int, otherwise: str) -> str:
        return self.texts[i % len(self.texts)] if self.texts else otherwise


def make_run(
    folder: Path,
    *,
    decision: Decision = "accept",
    rows: int = 600,
    seed: int = 0,
    items: int = 120,
    hostile: Sequence[str] = (),
    until: str = "gate",
) -> Path:
    """Write a run folder. `until` is the last stage reached: load, audit, select, train or gate."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, evil = np.random.default_rng(seed), Hostile(hostile)
    stages = ("load", "audit", "select", "train", "gate")
    reached = stages[: stages.index(until) + 1]
    pool = Pool.of(_rows(rng, rows, evil))
    (folder / "recipe.yaml").write_text(_recipe(evil), encoding="utf-8")
    save_pool(pool, folder / "pool")
    _quarantine(folder, evil)
    figures: dict[str, object] = {"run": _run_figures(folder.name, items), "lint": _lint(pool)}
    ledger = Ledger(folder / "ledger.sqlite")
    _cost(ledger, "lint", len(pool), 0.9)
    if "audit" in reached:
        findings = _findings(pool, evil)
        _frame(folder, "findings.parquet", findings)
        figures["audit"] = _audit_figures(pool, findings)
        for name, seconds in (("profile", 0.4), ("near_duplicates", 2.1), ("contamination", 1.3)):
            _cost(ledger, f"audit.{name}", len(pool), seconds)
        for name in ("sign", "pair"):
            _cost(ledger, f"near_duplicates.{name}", len(pool), 0.5)
    if "select" in reached:
        figures["arms"] = _select(folder, pool, findings, rng, evil)
        _cost(ledger, "measure.length", len(pool), 0.8)
        _cost(ledger, "measure.ifd", len(pool), 97.0, tokens=181_342)
        _cost(ledger, "select.selected", len(pool), 0.6)
    if "train" in reached:
        figures["train"] = _train(rng, ledger)
        figures["planted"] = _planted()
    if "gate" in reached:
        verdict, results = _results(rng, items, decision, evil)
        _frame(folder, "results.parquet", results)
        (folder / "verdict.json").write_text(json.dumps(verdict.as_json(), indent=1))
        _frame(folder, "items.parquet", _items(rng, items, evil))
        if evil.texts:
            _frame(folder, "replies.parquet", _replies(items, evil))
        _cost(ledger, "evaluate", items, 61.0, tokens=74_000)
        _cost(ledger, "gate", items, 0.3)
    if evil.texts:
        figures |= _hostile_figures(evil)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    ledger.close()
    return folder


def _frame(folder: Path, name: str, frame: pl.DataFrame) -> None:
    (folder / name).write_bytes(to_parquet(frame))


def _cost(ledger: Ledger, stage: str, rows: int, seconds: float, tokens: int = 0) -> None:
    counts = {"rows_in": rows, "kept": rows, "dropped": 0, "quarantined": 0, "tokens": tokens}
    ledger.record(stage, stage, counts, seconds)


def _sentences(rng: np.random.Generator, count: int) -> str:
    words = [str(w) for w in rng.choice(THINGS, 3, replace=False)]
    parts = [str(p) for p in rng.choice(SENTENCES, count, replace=count > len(SENTENCES))]
    filled = dict(zip("abc", words, strict=True), verb=str(rng.choice(VERBS)))
    topic, n = str(rng.choice(TOPICS)), int(rng.integers(20, 400))
    return " ".join(p.format(topic=topic, n=n, **filled) for p in parts)


def _ask(rng: np.random.Generator) -> str:
    form = str(rng.choice(ASKS))
    topic, reader = str(rng.choice(TOPICS)), str(rng.choice(READERS))
    return form.format(topic=topic, reader=reader, n=int(rng.integers(2, 9)))


def _rows(rng: np.random.Generator, count: int, evil: Hostile) -> list[Row]:
    made: list[Row] = []
    while len(made) < count:
        i = len(made)
        if i > 60 and i % 13 == 0 and not evil.texts:
            made.append(_near_copy(made[i - 40], i))
            continue
        turns = [Message("user", evil.text(i, _ask(rng)))]
        reply = _sentences(rng, int(rng.integers(1, 7)))
        turns.append(Message("assistant", evil.text(i + 1, reply), trains=True))
        if i % 9 == 0:
            turns.insert(0, Message("system", "You answer briefly and say what you do not know."))
        if i % 11 == 0:
            turns.append(Message("user", evil.text(i + 2, "Can you shorten that?")))
            turns.append(Message("assistant", _sentences(rng, 1), trains=True))
        name = evil.text(i + 3, f"mixed-{i % 3}.jsonl")
        origin = Origin(name, i + 1, evil.text(i + 4, f"user-{i}"), "{}")
        made.append(Row("chat", tuple(turns), origins=(origin,)))
    return made


def _near_copy(row: Row, i: int) -> Row:
    changed = row.messages[-1].content.replace("usually", "often").replace("seldom", "rarely")
    last = Message("assistant", f"{changed} So much for that.", trains=True)
    return Row("chat", (*row.messages[:-1], last), origins=(Origin("copies.jsonl", i + 1),))


def _findings(pool: Pool, evil: Hostile) -> pl.DataFrame:
    """Name near copies, and a few rows that copy evaluation items or are empty of content."""
    by_text = {_start(row): row.id for row in pool.rows() if _is_original(row)}
    found: list[tuple[object, ...]] = []
    for i, row in enumerate(pool.rows()):
        twin = by_text.get(_start(row))
        if not _is_original(row) and twin is not None:
            figure = 0.8 + (i % 17) / 100
            found.append((row.id, "near_duplicates", "near_duplicate", twin, figure, "word pairs"))
        elif i % 61 == 3:
            item = evil.text(i, f"heldout:{i % 40}")
            found.append((row.id, "contamination", "contaminated_ngram", item, 0.71, "13-grams"))
        elif i % 97 == 5:
            reason = evil.text(i + 1, "boilerplate")
            detail = evil.text(i + 2, "opens like 31 other rows")
            found.append((row.id, "profile", reason, evil.text(i + 3, ""), None, detail))
    return pl.DataFrame(found, schema=FINDINGS, orient="row").sort("id")


def _start(row: Row) -> str:
    return " ".join((row.messages[-2].content, *row.messages[-1].content.split()[:3]))


def _is_original(row: Row) -> bool:
    return row.origins[0].file != "copies.jsonl"


def _select(
    folder: Path, pool: Pool, findings: pl.DataFrame, rng: np.random.Generator, evil: Hostile
) -> dict[str, dict[str, int]]:
    clean = pool.without(findings["id"])
    lengths = np.array([len(row.reply.split()) for row in clean.rows()])
    total = lengths + rng.integers(12, 40, len(lengths))
    nll = 1.2 + rng.gamma(6.0, 0.18, len(lengths))
    ifd = np.clip(0.35 + 0.002 * lengths + rng.normal(0, 0.14, len(lengths)), 0.02, 1.4)
    scored = [None if n < 12 else float(v) for n, v in zip(lengths, ifd, strict=True)]
    features = pl.DataFrame(
        {"id": clean.ids, "length": lengths, "length_total": total, "nll": nll, "ifd": scored}
    ).with_columns(pl.lit(0.5).alias(text) for text in _column_names(evil))
    _frame(folder, "features.parquet", features)
    order = sorted(range(len(clean)), key=lambda i: (-(scored[i] or -1.0), clean.ids[i]))
    chosen = [i for i in order if scored[i] is not None][: len(clean) * 3 // 10]
    inside = set(chosen)
    left = [i for i in order if i not in inside]
    why = evil.text(0, "top_by_ifd")
    table: list[tuple[object, ...]] = [
        ("selected", clean.ids[i], rank, why) for rank, i in enumerate(chosen)
    ]
    reasons = {i: "over_budget" if scored[i] is not None else "unscored" for i in left}
    table += [("selected", clean.ids[i], None, reasons[i]) for i in left]
    arms = {f"random-{s}": rng.permutation(len(clean))[: len(chosen)].tolist() for s in range(3)}
    arms["longest"] = np.argsort(-lengths, kind="stable")[: len(chosen) // 2].tolist()
    arms["full"] = list(range(len(clean)))
    for arm, places in arms.items():
        table += [(arm, clean.ids[i], rank, arm) for rank, i in enumerate(places)]
    schema = {"arm": pl.String, "id": pl.String, "rank": pl.Int64, "reason": pl.String}
    _frame(folder, "selection.parquet", pl.DataFrame(table, schema=schema, orient="row"))
    _counts(folder, pool, findings, len(chosen), [reasons[i] for i in left])
    places = {"selected": chosen} | arms
    return {arm: {"rows": len(p), "tokens": int(total[p].sum())} for arm, p in places.items()}


def _column_names(evil: Hostile) -> list[str]:
    """Names for more features: a user's columns may be called anything but NUL (Arrow forbids it)."""
    return sorted({text for text in evil.texts if text and "\0" not in text})[:20]


def _counts(
    folder: Path, pool: Pool, findings: pl.DataFrame, selected: int, left: Sequence[str]
) -> None:
    dropped = dict(findings.group_by("reason").len().sort("reason").iter_rows())
    counts = {
        "read": len(pool) + 12 + 7,
        "quarantined": 7,
        "merged": 12,
        "held_out": 0,
        "rows": len(pool),
        "dropped": dropped,
        "left_after_audit": len(pool) - findings.height,
        "failed": {},
        "left": {reason: left.count(reason) for reason in sorted(set(left))},
        "selected": selected,
    }
    (folder / "counts.json").write_text(json.dumps(counts, indent=1), encoding="utf-8")
    minutes = {"audit": 0.01, "measure": 0.5, "train": 3.0, "evaluate": 1.25}
    expected = {"minutes": minutes, "low": 3.0, "high": 8.0}
    (folder / "estimate.json").write_text(json.dumps(expected), encoding="utf-8")


def _quarantine(folder: Path, evil: Hostile) -> None:
    lines = []
    for i in range(7):
        excerpt = evil.text(i, '{"prompt": "Name a river in ' + f"region {i}" + '", "completion":')
        record = {
            "file": evil.text(i + 1, "mixed-1.jsonl"),
            "line": 40 + 17 * i,
            "reason": evil.text(i + 2, "not_json" if i % 2 else "no_reply"),
            "sha256": hashlib.sha256(excerpt.encode("utf-8", "replace")).hexdigest(),
            "excerpt": excerpt,
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / "quarantine.jsonl").write_text("".join(lines), encoding="utf-8")


def _train(rng: np.random.Generator, ledger: Ledger) -> dict[str, object]:
    trained: dict[str, object] = {}
    for arm, role, _, seeds in ARMS:
        for seed in range(seeds if role != "incumbent" else 0):
            steps = 96 if arm == "full" else 32
            tail = {"longest": 1.75, "selected": 2.05}.get(arm, 1.9)
            curve = tail + 0.9 * np.exp(-np.arange(steps) / 9) + rng.normal(0, 0.05, steps)
            trained[f"{arm}-{seed}"] = {
                "steps": steps,
                "tokens": steps * 640,
                "losses": [round(float(v), 4) for v in curve],
            }
            _cost(ledger, f"train.{arm}-{seed}", steps * 8, steps * 1.3, tokens=steps * 640)
    return trained


def _results(
    rng: np.random.Generator, items: int, decision: Decision, evil: Hostile
) -> tuple[Verdict, pl.DataFrame]:
    scale = {"accept": 1.0, "hold": 0.1, "roll_back": -0.9}[decision]
    hard = rng.gamma(8.0, 0.25, items)
    names = [f"heldout:{i:032x}" for i in range(items)]
    table: list[tuple[object, ...]] = []
    scores: dict[str, np.ndarray] = {}
    for arm, role, gain, seeds in ARMS:
        effect = gain * scale if role == "tested" else gain
        item_luck = rng.normal(0, 0.07, items)
        values = np.stack(
            [hard - effect + item_luck + rng.normal(0, 0.015) for _ in range(seeds)]
        ) + rng.normal(0, 0.04, (seeds, items))
        scores[arm] = -values
        for s in range(seeds):
            for i in range(items):
                value = float(values[s, i])
                table.append((arm, s, names[i], evil.text(i, f"set-{i % 4}"), -value, value))
    frame = pl.DataFrame(table, schema=RESULT_SCHEMA, orient="row")
    return _verdict(scores, decision, evil), frame


def _verdict(scores: dict[str, np.ndarray], decision: Decision, evil: Hostile) -> Verdict:
    arms, comparisons = [], []
    tested = scores["selected"].mean(axis=0)
    for arm, role, _, seeds in ARMS:
        by_seed = tuple(float(-v) for v in scores[arm].mean(axis=1))
        mean = float(np.mean(by_seed))
        half = 1.645 * float(scores[arm].mean(axis=0).std() / np.sqrt(scores[arm].shape[1]))
        arms.append(Arm(arm, role, mean, mean - half, mean + half, by_seed))  # type: ignore[arg-type]
        if role == "tested":
            continue
        gap = tested - scores[arm].mean(axis=0)
        error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
        effect = float(gap.mean())
        p = 0.5 * (1 - np.tanh(1.1 * effect / error))
        comparisons.append(
            Comparison(
                arm, role, effect, effect - 1.645 * error, effect + 1.645 * error,  # type: ignore[arg-type]
                float(p), float(1 - p), len(gap), len(gap), seeds, error, error / 3,
            )
        )  # fmt: skip
    sentence = SENTENCE[decision].format(abs(comparisons[0].effect))
    notes = ("The full pool was trained with one seed only: its seed spread is unknown.",)
    if evil.texts:
        sentence, notes = evil.text(0, ""), tuple(evil.texts[:5])
    return Verdict(decision, sentence, "nll", 0.05, tuple(arms), tuple(comparisons), notes)


def _items(rng: np.random.Generator, items: int, evil: Hostile) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item": [f"heldout:{i:032x}" for i in range(items)],
            "prompt": [evil.text(i, _ask(rng)) for i in range(items)],
            "answer": [evil.text(i + 1, _sentences(rng, 3)) for i in range(items)],
        }
    )


def _replies(items: int, evil: Hostile) -> pl.DataFrame:
    names = [f"heldout:{i:032x}" for i in range(items)] * 2
    return pl.DataFrame(
        {
            "arm": ["selected"] * items + ["random"] * items,
            "seed": [0] * len(names),
            "item": names,
            "reply": [evil.text(i, "") for i in range(len(names))],
        }
    )


def _hostile_figures(evil: Hostile) -> dict[str, object]:
    """Every shape of figure that the report can show, with hostile keys and values."""
    numbers = {text: i for i, text in enumerate(evil.texts)}
    words = {text: text for text in evil.texts}
    checks = [
        {"name": text, "severity": text, "count": 3, "message": text, "ids": [text]}
        for text in evil.texts
    ]
    segments = [{"text": text, "trains": i % 2 == 0} for i, text in enumerate(evil.texts)]
    shapes: dict[str, object] = {
        "numbers": numbers,
        "words": words,
        "list": list(evil.texts),
        "records": [words, words],
        "nested": {text: {text: {text: [text, 1]}} for text in evil.texts[:5]},
    }
    return {
        "audit": {evil.text(0, ""): shapes, evil.text(1, ""): numbers, "profile": shapes},
        "lint": {
            "checks": checks,
            "max_tokens": 9,
            "is_ready": False,
            "lengths": {"row": numbers, "reply": numbers, "tokens": 9, "trained_tokens": 3},
            "examples": [{"id": evil.text(0, ""), "segments": segments}],
        },
        "train": {
            f"{text}-0": {"steps": 2, "tokens": 9, "losses": [2.0, 1.0]} for text in evil.texts
        },
        "planted": {
            "table": [
                {"kind": text, "planted": 3, "caught": 1, "reasons": {text: 1}}
                for text in evil.texts
            ]
        },
        "run": {"student": evil.text(3, ""), "data": list(evil.texts), "name": evil.text(4, "")},
        evil.text(5, ""): shapes,
        evil.text(6, ""): evil.text(7, ""),
    }


def _recipe(evil: Hostile) -> str:
    text = """\
student: embedded
embedder: minilm
seed: 0
data:
  train: mixed.jsonl
  evaluate: heldout.jsonl
audit:
  profile: {}
  near_duplicates: {threshold: 0.8, shingle: 2}
  contamination: {ngram: 13}
select:
  method: top
  by: ifd
  keep: 30%
train:
  method: sft
  lora: 8
  epochs: 1
gate:
  metric: nll
  controls: [random, longest]
  reference: full
  seeds: 3
  alpha: 0.05
budget:
  minutes: 60
"""
    return text + "".join(f"# {line}\n" for line in evil.texts)


def _run_figures(name: str, items: int) -> dict[str, object]:
    return {
        "data": "data/mixed.jsonl",
        "name": name,
        "student": "SmolLM2-135M-Instruct",
        "evaluation": {"heldout": items},
        "evaluation_quarantine": 0,
        "inputs": {"0:mixed.jsonl": "5d" * 32, "1:heldout.jsonl": "a7" * 32},
    }


def _planted() -> dict[str, object]:
    kinds = {
        "near_duplicate": (40, 39, 1, 0),
        "contaminated": (12, 12, 0, 0),
        "mojibake": (8, 6, 2, 1),
        "wrong_answer": (30, 0, 30, 4),
    }
    table = [
        {"kind": kind, "planted": n, "caught": hits, "recall": hits / n, "reasons": {kind: hits}}
        for kind, (n, hits, _, _) in kinds.items()
    ]
    fates = {k: {"candidates": left, "selected": s} for k, (_, _, left, s) in kinds.items()}
    fates["all_rows"] = {"candidates": 561, "selected": 168}
    return {
        "table": table,
        "clean": 510,
        "false_flags": 3,
        "false_flag_rate": 3 / 510,
        "false_flag_ids": ["row-00017", "row-00213", "row-00402"],
        "in_selection": fates,
    }


def _audit_figures(pool: Pool, findings: pl.DataFrame) -> dict[str, object]:
    dropped = findings.group_by("op").len()
    by_op: dict[str, int] = dict(dropped.iter_rows())
    openings = (("give arguments for and", 92), ("summarise what is known", 88), ("list of the", 7))
    lengths = {
        "mean": 41.2,
        "quantiles": {"0": 4, "0.05": 9, "0.25": 22, "0.5": 38, "0.75": 57, "0.95": 84, "1": 97},
        "edges": [0, 1, 2, 4, 8, 16, 32, 64, 128],
        "counts": [0, 0, 0, 14, 71, 168, 246, 101],
    }
    return {
        "profile": {
            "rows": len(pool),
            "kinds": {"chat": len(pool)},
            "turns": {"2": 480, "3": 66, "4": 54},
            "reply_words": lengths,
            "empty_reply_share": 0.0,
            "prompt_openings": [
                {"text": text, "rows": n, "share": n / len(pool)} for text, n in openings
            ],
        },
        "exact_duplicates": {"rows": len(pool), "dropped": 0, "groups": 0},
        "near_duplicates": {
            "rows": len(pool),
            "dropped": by_op.get("near_duplicates", 0),
            "candidate_pairs": 71,
            "recall_at_threshold": 0.9931,
        },
        "contamination": {
            "rows": len(pool),
            "dropped": by_op.get("contamination", 0),
            "items": 120,
            "short_items": 9,
            "short_share": 0.075,
            "sets": {"heldout": {"items": 120, "short_items": 9, "items_hit": 8, "rows": 10}},
        },
    }


def _lint(pool: Pool) -> dict[str, object]:
    checks = [
        ("reply_cut", "warning", 9, "rows are so long that the end of their reply is cut off."),
        ("truncated", "info", 11, "rows are longer than max_tokens."),
        ("empty_reply", "warning", 0, ""),
        ("mojibake", "warning", 6, "rows hold UTF-8 that was read as Windows-1252."),
        ("no_trained_stop", "error", 0, ""),
    ]
    names = ("name", "severity", "count", "message")
    quantiles = {"0": 18, "0.05": 31, "0.25": 58, "0.5": 83, "0.75": 117, "0.95": 171, "1": 402}
    first = pool.rows()[0]
    segments = [
        {"text": f"<|im_start|>user\n{first.messages[0].content}<|im_end|>\n", "trains": False},
        {"text": f"{first.reply}<|im_end|>", "trains": True},
    ]
    return {
        "rows": len(pool),
        "max_tokens": 1024,
        "checks": [dict(zip(names, check, strict=True)) for check in checks],
        "lengths": {
            "tokens": 52_310,
            "trained_tokens": 37_121,
            "row": quantiles,
            "reply": {q: n - 14 for q, n in quantiles.items()},
            "longest": {},
        },
        "examples": [{"id": first.id, "segments": segments}],
        "is_ready": True,
    }
