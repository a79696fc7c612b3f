"""Make the data of these examples: sums of which four in ten are wrong, and the demo's questions.

Run: python make_data.py. `gold.jsonl` says what a judge that knows its sums would score; it is for the
scripted judge (`python -m treadle.judge.scripted_judge --gold gold.jsonl`), and no recipe reads it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from treadle.data.formats.write import write
from treadle.flywheel.demo import write_demo
from treadle.models.sums import proxy_items, proxy_rows


def main(folder: Path) -> None:
    """Write sums.jsonl, sums_heldout.jsonl and gold.jsonl, and the demo's files into `demo`."""
    rows = proxy_rows(1500, seed=1, wrong_share=0.4)
    write(rows, folder / "sums.jsonl")
    write(proxy_items(300, seed=1), folder / "sums_heldout.jsonl")
    lines = []
    for row in rows:
        request, answer = row.prompt[0].content, row.reply
        is_right = sum(map(int, request.split("+"))) == int(answer)
        score = 5.0 if is_right else 1.0
        lines.append({"name": row.id, "request": request, "answer": answer, "score": score})
    gold = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "gold.jsonl").write_text(gold, encoding="utf-8")
    (folder / "demo").mkdir(exist_ok=True)
    write_demo(folder / "demo", rows=600)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
