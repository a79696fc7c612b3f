"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

# A test that fails when the machine is busy says nothing about the code.
settings.register_profile("no_clock", deadline=None)
settings.load_profile("no_clock")
# `make test-fast` asks for this one.
settings.register_profile("fast", deadline=None, max_examples=25)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets that lies beside the checkout, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return folder
