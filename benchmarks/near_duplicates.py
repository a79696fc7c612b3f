"""Near duplicates end to end against datasketch and rensa: same rows, bands, exact check and order.

    python benchmarks/near_duplicates.py [--rows 100000] [--quick] [--ours-only] [--short]

Each contender runs in a process of its own, from a pool on disk to the list of dropped rows, so
that seconds and peak memory are its own. All use pairs of words, the same bands, an exact Jaccard
check and the same greedy order. `--ours-only --short --rows 1000000` asks whether a million short rows
(15 to 40 words) fit into 8 GiB. The rows are made up: 85% of Zipf words, 10% of templates with
slots, 5% copies with a few words changed (`planted`: the share of these that is found).
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from table import head, line
from treadle.audit.near_duplicates import near_duplicates
from treadle.context import Context
from treadle.data.pool import Pool, load_pool, save_pool
from treadle.data.row import Message, Row, texts
from treadle.text.minhash import plan

THRESHOLD, PERMUTATIONS = 0.8, 128
BAR, MOST_MB = 5, 8 * 2**30 / 1e6
BANDING = plan(THRESHOLD, PERMUTATIONS)


def made_rows(
    total: int, shortest: int = 30, longest: int = 90
) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Return rows of words, and the positions of rows and their planted copies."""
    rng = np.random.default_rng(11)
    templates = [[f"t{t}w{i}" for i in range(55)] for t in range(20)]
    rows: list[list[str]] = []
    copies = []
    while len(rows) < total - 1:
        if rng.random() < 0.1:
            words = list(templates[rng.integers(20)])
            for slot in rng.choice(55, 12, replace=False):
                words[slot] = f"s{rng.integers(10**6)}"
        else:
            ranks = np.minimum(
                rng.pareto(1.0, rng.integers(shortest, longest)) * 20, 50_000
            ).astype(int)
            words = [f"w{rank}" for rank in ranks.tolist()]
        rows.append(words)
        if rng.random() < 0.05:
            copy = list(words)
            for place in rng.choice(len(copy), max(1, len(copy) // 30), replace=False):
                copy[place] = f"c{rng.integers(10**9)}"
            copies.append((len(rows) - 1, len(rows)))
            rows.append(copy)
    return rows, copies


def row_of(words: Sequence[str]) -> Row:
    cut = len(words) // 3
    reply = Message("assistant", " ".join(words[cut:]), trains=True)
    return Row("chat", (Message("user", " ".join(words[:cut])), reply))


def similarity(one: Sequence[str], other: Sequence[str]) -> float:
    left, right = set(itertools.pairwise(one)), set(itertools.pairwise(other))
    return len(left & right) / len(left | right)


def ours(pool: Pool) -> list[str]:
    find = near_duplicates(threshold=THRESHOLD, permutations=PERMUTATIONS)
    return find(pool, Context()).rows["id"].to_list()


def shingled(pool: Pool) -> list[list[str]]:
    found = (re.findall(r"\w+", text.lower()) for text in texts(pool.frame))
    return [sorted({" ".join(two) for two in itertools.pairwise(words)}) for words in found]


def checked(pool: Pool, sets: list[list[str]], candidates: Iterable[Iterable[int]]) -> list[str]:
    """Exact Jaccard and the same greedy order, as one would write it around a library."""
    alike: list[list[int]] = [[] for _ in sets]
    own = [set(one) for one in sets]
    for i, others in enumerate(candidates):
        for j in others:
            if i < j:
                shared = len(own[i] & own[j])
                if shared / (len(own[i]) + len(own[j]) - shared) >= THRESHOLD:
                    alike[i].append(j)
                    alike[j].append(i)
    ids, chars = pool.ids, [len(text) for text in texts(pool.frame)]
    kept = [False] * len(sets)
    for i in sorted(range(len(sets)), key=lambda i: (-chars[i], ids[i])):
        kept[i] = not any(kept[j] for j in alike[i])
    return [key for key, stays in zip(ids, kept, strict=True) if not stays]


def datasketch(pool: Pool) -> list[str]:
    from datasketch import MinHash, MinHashLSH

    sets = shingled(pool)
    encoded = ([shingle.encode() for shingle in one] for one in sets)
    hashes = MinHash.bulk(encoded, num_perm=BANDING.used)
    index = MinHashLSH(num_perm=BANDING.used, params=(BANDING.bands, BANDING.rows))
    for i, one in enumerate(hashes):
        index.insert(i, one)
    return checked(pool, sets, (index.query(one) for one in hashes))


def rensa(pool: Pool) -> list[str]:
    from rensa import RMinHash, RMinHashLSH

    sets = shingled(pool)
    hashes = RMinHash.from_token_sets(sets, BANDING.used, 42)
    index = RMinHashLSH(THRESHOLD, BANDING.used, BANDING.bands)
    index.insert_many(hashes)
    return checked(pool, sets, index.query_all(hashes))


CONTENDERS: dict[str, Callable[[Pool], list[str]]] = {
    "ours": ours,
    "datasketch": datasketch,
    "rensa": rensa,
}


def contend(name: str, folder: Path) -> None:
    """Run one contender and print its figures as JSON (in a process of its own)."""
    pool = load_pool(folder)
    began = time.perf_counter()
    dropped = CONTENDERS[name](pool)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF)
    used = peak.ru_utime + peak.ru_stime
    figures = {"seconds": seconds, "cpu": used, "mb": peak.ru_maxrss / 1e3, "dropped": dropped}
    print(json.dumps(figures))


def run_all(
    total: int, names: Iterable[str], lengths: tuple[int, int]
) -> dict[str, dict[str, float]]:
    """Measure the contenders on the same pool."""
    rows, copies = made_rows(total, *lengths)
    made = [row_of(words) for words in rows]
    planted = [
        {made[i].id, made[j].id} for i, j in copies if similarity(rows[i], rows[j]) >= THRESHOLD
    ]
    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        save_pool(Pool.of(made), Path(folder))
        del rows, made
        for name in names:
            command = [sys.executable, __file__, "--contender", name, "--pool", folder]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            dropped = set(figures.pop("dropped"))
            found = sum(bool(pair & dropped) for pair in planted)
            figures |= {"dropped": len(dropped), "found": 100 * found / len(planted)}
            seen[name] = figures
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="5,000 rows only")
    parser.add_argument("--ours-only", action="store_true", help="without the alternatives")
    parser.add_argument("--short", action="store_true", help="rows of 15 to 40 words")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--pool", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        contend(given.contender, given.pool)
        return
    total = 5_000 if given.quick else given.rows
    names = ["ours"] if given.ours_only else list(CONTENDERS)
    seen = run_all(total, names, (15, 40) if given.short else (30, 90))
    mine = seen["ours"]
    head()
    label = f"near duplicates, {total:,}{' short' if given.short else ''} rows"
    figures = (
        ("seconds", "end to end", ".1f} s"),
        ("cpu", "processor time", ".1f} s"),
        ("mb", "peak memory", ".0f} MB"),
        ("dropped", "dropped", ".0f} rows"),
        ("found", "planted copies found", ".1f} %"),
    )
    for figure, words, form in figures if given.ours_only else ():
        fits = mine[figure] < MOST_MB if figure == "mb" else None
        bar = "below 8 GiB" if figure == "mb" else "–"
        line(f"{label}, {words}", ("{:," + form).format(mine[figure]), bar=bar, met=fits)
    for name in names[1:]:
        for figure, words, form in figures:
            one, other = mine[figure], seen[name][figure]
            left, right = (("{:," + form).format(value) for value in (one, other))
            ratio = other / one
            is_barred = (name, figure) == ("datasketch", "cpu")
            line(
                f"{label}, {words}",
                left,
                f"{right} ({name})",
                ratio,
                bar=f"at least {BAR}x" if is_barred else "–",
                met=ratio >= BAR if is_barred and not given.quick else None,
            )


if __name__ == "__main__":
    main()
