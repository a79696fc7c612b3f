"""PyTorch's own matrix products for a loop that ours is compared with.

with pytorch_products():
    published_loop(student, rows)    # the student's layers multiply as torch.nn.Linear does
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from treadle.models import linear


@contextmanager
def pytorch_products() -> Iterator[None]:
    """Let every product go PyTorch's own way; its bf16 keeps going through oneDNN."""
    with patch.object(linear, "has_onednn", lambda: False):
        yield
