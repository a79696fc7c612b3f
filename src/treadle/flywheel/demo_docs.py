"""What Python's standard library says about itself, read from this machine.

    Documented("textwrap.dedent", "textwrap", "function", "(text)",
               "Remove any common leading whitespace from every line in `text`.", "This can be …")

The demo needs real text that every machine has and everybody may use. Modules written in Python are
parsed, not imported, so nothing runs; the few written in C are imported and inspected.

Documentation that says the same thing twice (a method inherited or copied, `bytes` beside `str`)
is kept once, at the first place in `MODULES`: no two objects share eight words in a row, so that a
training row cannot give away an evaluation item.

Not here: reStructuredText (roles stay as written), private names, examples and tables in docstrings.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from treadle.errors import DataError
from treadle.text.words import hash_words, ngrams

SHARED_WORDS = 8
MOST_WORDS = 70
FEWEST_OBJECTS = 1500

C_MODULES = (
    "builtins", "math", "itertools", "time", "sys", "posix", "struct", "zlib", "binascii", "array",
    "cmath", "select", "unicodedata", "_collections", "_functools",
)  # fmt: skip
MODULES = (
    "functools", "collections", "contextlib", "operator", "textwrap", "string", "re", "json",
    "json.decoder", "json.encoder", "random", "statistics", "fractions", "numbers", "bisect",
    "heapq", "datetime", "calendar", "os", "posixpath", "genericpath", "pathlib", "shutil",
    "tempfile", "glob", "fnmatch", "fileinput", "filecmp", "linecache", "io", "csv", "configparser",
    "zipfile", "tarfile", "gzip", "bz2", "lzma", "hashlib", "hmac", "secrets", "base64", "quopri",
    "pickle", "pickletools", "copy", "copyreg", "shelve", "dataclasses", "enum", "types", "typing",
    "weakref", "abc", "inspect", "ast", "dis", "symtable", "tokenize", "token", "traceback",
    "tracemalloc", "warnings", "threading", "queue", "sched", "subprocess", "signal", "selectors",
    "socket", "socketserver", "ssl", "asyncio.base_events", "asyncio.events", "asyncio.futures",
    "asyncio.locks", "asyncio.protocols", "asyncio.queues", "asyncio.runners", "asyncio.streams",
    "asyncio.tasks", "asyncio.taskgroups", "asyncio.timeouts", "asyncio.transports",
    "concurrent.futures._base", "concurrent.futures.thread", "concurrent.futures.process",
    "multiprocessing.connection", "multiprocessing.context", "multiprocessing.managers",
    "multiprocessing.pool", "multiprocessing.process", "multiprocessing.shared_memory",
    "logging", "logging.config", "logging.handlers", "argparse", "optparse", "getopt", "cmd",
    "shlex", "code", "codeop", "codecs", "locale", "gettext", "difflib", "pprint", "reprlib",
    "graphlib", "ipaddress", "uuid", "urllib.parse", "urllib.request", "urllib.robotparser",
    "urllib.error", "http", "http.client", "http.server", "http.cookies", "http.cookiejar",
    "email.message", "email.utils", "email.charset", "email.header", "email.policy", "email.parser",
    "email.generator", "email.errors", "email.feedparser", "email.headerregistry",
    "email.contentmanager", "mailbox", "mimetypes", "smtplib", "poplib", "imaplib", "ftplib",
    "xmlrpc.client", "xmlrpc.server", "xml.etree.ElementTree", "xml.dom.minidom", "xml.sax.handler",
    "xml.sax.xmlreader", "xml.sax.saxutils", "html", "html.parser", "webbrowser", "wsgiref.handlers",
    "wsgiref.headers", "wsgiref.util", "wsgiref.simple_server", "wsgiref.validate", "unittest.case",
    "unittest.mock", "unittest.result", "unittest.loader", "unittest.suite", "unittest.runner",
    "doctest", "pdb", "bdb", "profile", "pstats", "timeit", "trace", "cProfile", "platform",
    "sysconfig", "site", "venv", "zipapp", "zipimport", "pkgutil", "modulefinder", "runpy",
    "importlib.abc", "importlib.util", "importlib.metadata", "importlib.resources.abc", "pydoc",
    "py_compile", "compileall", "pyclbr", "tabnanny", "plistlib", "netrc", "colorsys", "wave",
    "stat", "stringprep", "sqlite3.dbapi2", "ctypes.util", "contextvars", "rlcompleter", "getpass",
)  # fmt: skip
# Where the Python text of a module lies when not under its own name (it differs by version).
ELSEWHERE = {
    "datetime": ("_pydatetime.py", "datetime.py"),
    "io": ("_pyio.py",),
    "pathlib": ("pathlib/__init__.py", "pathlib/_local.py", "pathlib/_abc.py", "pathlib.py"),
}
SHOWN_AS = {
    "posix": "os", "posixpath": "os.path", "genericpath": "os.path", "_collections": "collections",
    "_functools": "functools", "concurrent.futures._base": "concurrent.futures", "concurrent.futures.thread": "concurrent.futures",
    "concurrent.futures.process": "concurrent.futures",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Documented:
    """A documented object. `summary` is its first sentence, `details` what follows (or '').

    `is_importable`: `from module import name` is known to work, as the module itself defines it.
    """

    name: str
    module: str
    kind: str
    signature: str
    summary: str
    details: str
    is_importable: bool = False


def read_stdlib(folder: Path | None = None) -> list[Documented]:
    """Return the documented objects of the standard library, each said once, in a fixed order.

    Args:
        folder: where the library's sources lie; by default those of the running Python.

    Raises:
        DataError: this Python has no sources or was built without docstrings.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    found: dict[str, Documented] = {}
    for one in (*_compiled(), *_written(folder)):
        found.setdefault(one.name, one)
    kept = _said_once(list(found.values()))
    if len(kept) < FEWEST_OBJECTS:
        raise DataError(
            f"{folder}: only {len(kept)} documented objects of Python {sys.version.split()[0]} found, "
            f"and the demo needs {FEWEST_OBJECTS}. It reads the standard library's sources and "
            "docstrings: use a Python that has both (not a zipped or stripped one)."
        )
    return kept


def _said_once(objects: list[Documented]) -> list[Documented]:
    """Keep an object if it shares no run of `SHARED_WORDS` words with one kept before."""
    hashed = hash_words(f"{one.summary} {one.details}" for one in objects)
    runs = ngrams(hashed, SHARED_WORDS)
    seen_runs: set[int] = set()
    seen_short: set[tuple[int, ...]] = set()
    kept = []
    for i, one in enumerate(objects):
        marks = set(runs.values[runs.bounds[i] : runs.bounds[i + 1]].tolist())
        said = tuple(hashed.values[hashed.bounds[i] : hashed.bounds[i + 1]].tolist())
        if seen_runs.isdisjoint(marks) and said not in seen_short:
            kept.append(one)
        seen_runs |= marks
        seen_short.add(said)
    return kept


def _written(folder: Path) -> Iterator[Documented]:
    for module in MODULES:
        places = ELSEWHERE.get(module) or (
            f"{module.replace('.', '/')}.py",
            f"{module.replace('.', '/')}/__init__.py",
        )
        shown = SHOWN_AS.get(module, module)
        for place in places:
            try:
                tree = ast.parse((folder / place).read_text(encoding="utf-8"))
            except (OSError, SyntaxError, ValueError):
                continue  # not in this version, or not shipped as source
            yield from _documented(shown, shown, "module", "", ast.get_docstring(tree))
            is_own = shown == module and module not in ELSEWHERE
            for one in _members(tree, shown, shown):
                is_top = one.name.count(".") == shown.count(".") + 1
                yield replace(one, is_importable=is_own and is_top)


def _members(tree: ast.Module | ast.ClassDef, module: str, owner: str) -> Iterator[Documented]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        name, text = f"{owner}.{node.name}", ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            yield from _documented(name, module, "class", "", text)
            yield from _members(node, module, name)
        else:
            kind = "method" if isinstance(tree, ast.ClassDef) else "function"
            yield from _documented(name, module, kind, _signature(node.args), text)


def _signature(arguments: ast.arguments) -> str:
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    text = re.sub(r"^(self|cls)\b(, )?(/, |/$)?", "", ast.unparse(arguments))
    return f"({text})"


def _compiled() -> Iterator[Documented]:
    for name in C_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # not built on this platform
        shown = SHOWN_AS.get(name, name)
        prefix = "" if name == "builtins" else f"{shown}."
        for key, value in _by_length(vars(module)):
            if key.startswith("_") or not (inspect.isbuiltin(value) or inspect.isclass(value)):
                continue
            if value.__name__ != key or key.endswith("hook"):
                continue  # another name of an object that has its own; or replaced at run time
            kind = "class" if inspect.isclass(value) else "function"
            yield from _inspected(f"{prefix}{key}", shown, kind, value)
            if inspect.isclass(value) and not issubclass(value, BaseException):
                for part, method in _by_length(vars(value)):
                    if not part.startswith("_") and callable(method):
                        yield from _inspected(f"{prefix}{key}.{part}", shown, "method", method)


def _by_length(members: Mapping[str, object]) -> list[tuple[str, object]]:
    """Order members so that `split` stands before `rsplit`: the first to say a thing is kept."""
    return sorted(members.items(), key=lambda item: (len(item[0]), item[0]))


def _inspected(name: str, module: str, kind: str, value: object) -> Iterator[Documented]:
    text = getattr(value, "__doc__", None)
    signature = getattr(value, "__text_signature__", None) or ""
    signature = re.sub(r"\(\$(self|module|type)(, /)?(, )?", "(", signature)
    if "<unrepresentable>" in signature:
        signature = ""
    if isinstance(text, str):
        yield from _documented(name, module, kind, signature, inspect.cleandoc(text))


_CALL = re.compile(r"^[\w.]+\(.*\)(\s*->.*)?$")
_BLOCK = re.compile(r"\s*([-*+|=]|\d+[.)])\s|.*>>>|\s|.*\s{4,}\S")
_SENTENCE = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[A-Z`'\"(*])")


def _documented(
    name: str, module: str, kind: str, signature: str, text: str | None
) -> Iterator[Documented]:
    """Yield the object if its docstring begins with a sentence that stands by itself."""
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", text or "") if _is_prose(p)]
    if paragraphs and _CALL.match(paragraphs[0]):
        paragraphs.pop(0)  # an older docstring that opens with the call itself
    sentences = [s.strip() for p in paragraphs[:3] for s in _SENTENCE.split(p)]
    if not sentences:
        return
    summary, count = sentences[0], len(sentences[0].split())
    if not (4 <= count <= 40 and summary[0].isalpha() and summary.endswith((".", "!"))):
        return
    details: list[str] = []
    for sentence in sentences[1:]:
        if len(" ".join([*details, sentence]).split()) > MOST_WORDS or not sentence.endswith("."):
            break
        details.append(sentence)
    yield Documented(name, module, kind, signature, summary, " ".join(details))


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph is running text: no example, list, table or indented block."""
    lines = paragraph.strip("\n").split("\n")
    return bool(paragraph.strip()) and not any(_BLOCK.match(line) for line in lines)
