"""Make the three pools of the pruning experiment, 40 rows of each taken out as target rows.

    python make_pools.py --data ../../../shared/data

`--data` is the folder that `experiments/README.md` describes, with `medquad_pool` besides.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TARGET_ROWS = 40


def lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a JSONL file (or of a JSON list)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield from json.loads(text)
    else:
        yield from (json.loads(line) for line in text.split("\n") if line.strip())


def fields(paths: Sequence[Path], names: Sequence[str]) -> list[dict[str, str]]:
    """Return some fields of every row of the files, and the folder that the row came from."""
    return [
        {**{name: row[name] for name in names}, "source": path.parent.name}
        for path in paths
        for row in lines(path)
    ]


def pools(data: Path) -> Mapping[str, list[dict[str, str]]]:
    """Return the rows of each pool."""
    alpaca = [data / "alpaca_pool" / f"pool.part{i}.jsonl" for i in (0, 1)]
    medquad = [data / "medquad_pool" / f"qa.part{i}.jsonl" for i in (0, 1)]
    instructions = [*alpaca, data / "dolly_3k" / "dolly_3k.json"]
    return {
        "alpaca": fields(instructions, ("instruction", "input", "output")),
        "gsm8k": fields([data / "gsm8k_train" / "train.jsonl"], ("question", "answer")),
        "medquad": fields(medquad, ("question", "answer", "focus", "qtype")),
    }


def main() -> None:
    """Write NAME/pool.jsonl and NAME/target.jsonl beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    data = parser.parse_args().data
    if not (data / "alpaca_pool").is_dir():
        raise SystemExit(f"{data}: no folder alpaca_pool in it. See experiments/README.md.")
    for name, rows in pools(data).items():
        random.Random(0).shuffle(rows)
        folder = Path(__file__).parent / name
        folder.mkdir(exist_ok=True)
        parts = {"target": rows[:TARGET_ROWS], "pool": rows[TARGET_ROWS:]}
        for part, some in parts.items():
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
            (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(parts['pool']):,} rows, {len(parts['target'])} target rows")


if __name__ == "__main__":
    main()
