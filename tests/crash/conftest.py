"""A fast place for tests that write thousands of small files and do not test the disk itself."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A fresh folder in memory where there is such a place, else on disk."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="treadle-", dir=place))
    yield folder
    shutil.rmtree(folder)
