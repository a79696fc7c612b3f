"""Where things that are made once a machine are kept: converted models, pretrained proxies."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$TREADLE_CACHE`, or `treadle` in the user's cache folder. It may not exist yet."""
    own = os.environ.get("TREADLE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "treadle"
