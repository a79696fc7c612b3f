"""Make the data: sums of which four in ten are wrong, right sums as target, and right sums to judge by.

Run: python make_data.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from treadle.data.formats.write import write
from treadle.models.sums import proxy_items, proxy_rows


def main(folder: Path) -> None:
    """Write pool.jsonl, dev.jsonl and heldout.jsonl into the folder."""
    write(proxy_rows(1500, seed=1, wrong_share=0.4), folder / "pool.jsonl")
    write(proxy_rows(60, seed=7, wrong_share=0.0), folder / "dev.jsonl")
    write(proxy_items(300, seed=1), folder / "heldout.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
