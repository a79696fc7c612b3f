"""Hashes of source code: a cached result is worth as much as the code that made it.

    code_hash("treadle.measure.ifd")    # that file and every own file it imports, however far

Own are the files of treadle and of the module's package; for a module that stands alone (a plugin),
those beside it. Not here: versions of installed packages. Comments count too: a harmless edit
measures again, which is better than a stale number; but not one in the plumbing that only hands
rows over and keeps results.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from functools import cache
from pathlib import Path

PLUMBING = ("treadle.op", "treadle.context", "treadle.errors", "treadle.machinery")
PREFIXES = tuple(f"{name}." for name in PLUMBING)


@cache
def code_hash(module: str) -> str:
    """Hash the file of a module and every own file that it imports, directly or not."""
    digest = hashlib.sha256()
    for name, source in sorted(sources(module).items()):
        digest.update(f"{name}:{len(source)}:".encode() + source)
    return digest.hexdigest()[:32]


@cache
def file_hash(module: str) -> str:
    """Hash the file of a module alone."""
    file = _file(module)
    return hashlib.sha256(file.read_bytes() if file else b"").hexdigest()[:32]


def sources(module: str) -> dict[str, bytes]:
    """Return the sources of a module and of every own module that it imports, by name.

    What is imported and is no own module (a function, another package) has no source.
    """
    seen: dict[str, bytes] = {}
    waiting = [module]
    folder = _home(module)
    while waiting:
        name = waiting.pop()
        if name in seen or (name != module and f"{name}.".startswith(PREFIXES)):
            continue
        is_known = name == module or f"{name}.".startswith("treadle.")
        file = _file(name) if is_known else _file_in(folder, name)
        seen[name] = file.read_bytes() if file else b""
        is_package = file is not None and file.name == "__init__.py"
        package = name if is_package else name.rpartition(".")[0]
        found = _imports(seen[name], package)
        waiting.extend(n for n in found if _is_own(n, module) or f"{n}.".startswith("treadle."))
    return seen


def _is_own(name: str, module: str) -> bool:
    """Whether a name may lie in the module's package, or beside a module without one."""
    return "." not in module or name.split(".")[0] == module.split(".")[0]


def _home(module: str) -> Path | None:
    """The folder in which own modules are looked up; none where all installed packages lie."""
    file = _file(module)
    if file is None:
        return None
    folder = file.parents[module.count(".") + (file.name == "__init__.py")]
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return None if "." not in module and folder in installed else folder


def _file(module: str) -> Path | None:
    """Where Python finds a module; nothing for what is no module (a function that was imported)."""
    loaded = sys.modules.get(module)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a module and no package
        return None
    origin = spec.origin if spec is not None else getattr(loaded, "__file__", None)
    return Path(origin) if origin is not None and Path(origin).is_file() else None


def _file_in(folder: Path | None, module: str) -> Path | None:
    """Where a module lies in a folder; asking Python would import its package."""
    if folder is None:
        return None
    *parents, last = module.split(".")
    place = folder.joinpath(*parents)
    files = (place / last / "__init__.py", place / f"{last}.py")
    return next((file for file in files if file.is_file()), None)


@cache  # ops share most of what they import
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """Return what a source imports; `from treadle.models import local` names two modules."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found += (base, *(f"{base}.{one.name}" for one in node.names))
    return tuple(found)
