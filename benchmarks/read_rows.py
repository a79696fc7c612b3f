"""Reading JSON Lines into rows against `datasets` and bare `json.loads`, on the same file.

    python benchmarks/read_rows.py [--rows 100000] [--quick]

Each contender runs in a process of its own, so that processor seconds and peak memory are its own. They do
not do the same work: `datasets` types the columns and writes its cache, `json.loads` keeps plain
dictionaries; ours also checks every record, hashes its content and merges equal rows. The ratio is
therefore the price of those checks, not a race.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from treadle.data.formats.read import read


def made_file(path: Path, total: int) -> None:
    """Write Alpaca-like records of about 450 characters; one in fifty repeats an earlier one."""
    chance = random.Random(5)
    words = [f"w{i}" for i in range(3000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(total):
            draw = random.Random(number if chance.random() > 0.02 else chance.randrange(number + 1))
            ask, reply = (" ".join(draw.choices(words, k=k)) for k in (20, 55))
            record = {"id": number, "instruction": ask, "input": "", "output": reply}
            file.write(json.dumps(record) + "\n")


def ours(path: Path) -> int:
    return read(path).read


def bare_json(path: Path) -> int:
    with path.open("rb") as file:
        return len([json.loads(line) for line in file])


def hugging_face(path: Path) -> int:
    from datasets import load_dataset

    cache = str(path.parent / "cache")
    return len(load_dataset("json", data_files=str(path), split="train", cache_dir=cache))


CONTENDERS: dict[str, Callable[[Path], int]] = {
    "treadle": ours,
    "datasets": hugging_face,
    "json.loads": bare_json,
}


def measure(name: str, path: Path) -> None:
    """Run one contender here and print processor seconds and peak megabytes."""
    warm = path.with_name("warm.jsonl")
    CONTENDERS[name](warm)
    start = time.process_time()
    count = CONTENDERS[name](path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "count": count}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="10,000 rows")
    parser.add_argument("--contender", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        measure(options.contender[0], Path(options.contender[1]))
        return
    total = 10_000 if options.quick else options.rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        made_file(path, total)
        made_file(path.with_name("warm.jsonl"), 100)
        found = {}
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--contender", name, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
    print("| figure | ours | alternative | ratio |\n|---|---|---|---|")
    mine = found.pop("treadle")
    for name, other in found.items():
        for figure, unit in (("seconds", "s"), ("peak", "MB")):
            ratio = mine[figure] / other[figure]
            label = f"read {total:,} rows, {figure}, against {name}"
            print(
                f"| {label} | {mine[figure]:.2f} {unit} | {other[figure]:.2f} {unit} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main()
