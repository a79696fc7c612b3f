"""Make the data of this example: sums of which four in ten are wrong, and right sums to judge by.

Each row has a `quality` column as a noisy judge would give it. Run: python make_data.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from treadle.data.formats.write import write
from treadle.models.sums import proxy_items, proxy_rows


def main(folder: Path) -> None:
    """Write pool.jsonl and heldout.jsonl into the folder."""
    write(proxy_rows(1500, seed=1, wrong_share=0.4), folder / "pool.jsonl")
    write(proxy_items(300, seed=1), folder / "heldout.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
