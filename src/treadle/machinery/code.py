"""Hashes of source code: a cached result is worth as much as the code that made it.

    code_hash("treadle.measure.ifd")    # that file and every treadle file it imports, however far

Comments count too: a harmless edit measures again, which is better than a stale number.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def code_hash(module: str) -> str:
    """Hash the file of a module and every treadle file that it imports, directly or not."""
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        source = _source(name)
        seen[name] = source
        waiting.extend(_own_imports(source))
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(f"{name}:{len(seen[name])}:".encode() + seen[name])
    return digest.hexdigest()[:32]


def _source(module: str) -> bytes:
    """Return a module's source; nothing for what is no module (a function that was imported)."""
    loaded = sys.modules.get(module)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a module and no package
        return b""
    origin = spec.origin if spec is not None else getattr(loaded, "__file__", None)
    if origin is None or not Path(origin).is_file():
        return b""
    return Path(origin).read_bytes()


def _own_imports(source: bytes) -> Iterable[str]:
    """Yield the treadle modules that a source names; `from treadle.models import local` names two."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("treadle."))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("treadle."):
            yield str(node.module)
            yield from (f"{node.module}.{a.name}" for a in node.names)
