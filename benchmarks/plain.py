"""PyTorch's own matrix products for a loop that ours is compared with.

with own_products():
    published_loop(student, rows)       the student's layers multiply as torch.nn.Linear does
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from treadle.models import linear


@contextmanager
def own_products() -> Iterator[None]:
    """Turn off `treadle.models.linear`: every product goes PyTorch's own way."""
    before = linear.HAS_ONEDNN
    linear.HAS_ONEDNN = False
    try:
        yield
    finally:
        linear.HAS_ONEDNN = before
