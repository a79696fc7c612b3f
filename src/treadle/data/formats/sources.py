"""Sources: which files a source names, under which labels, and how each kind is opened.

A label stands for a file in a row's origin. It is never an absolute path, because artefacts must be
equal when the same data lies in another folder.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from treadle.data.formats import json_array, text_files, typed_files
from treadle.data.formats.raw import Raw
from treadle.data.pool import MANIFEST
from treadle.errors import DataError, nearest

Source = str | Path | Sequence[str | Path]

MAX_UNPACKED_BYTES = 4 * 2**30
MAX_RATIO = 200
RATIO_FROM_BYTES = 64 * 2**20
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_NOT_TEXT = {
    b"\x1f\x8b": "gzip (name it .gz)",
    b"PAR1": "Parquet (name it .parquet)",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"SQLite format 3": "SQLite",
    b"\xff\xfe": "UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 (save it as UTF-8)",
}


def expand(source: Source) -> list[Path]:
    """Return the files and folders that a source names, each once; globs are sorted.

    Raises:
        DataError: a path does not exist, or a pattern matches nothing.
    """
    given = [source] if isinstance(source, (str, Path)) else list(source)
    found: dict[str, Path] = {}
    for item in given:
        for path in _matches(str(item)):
            found.setdefault(os.path.realpath(path), path)
    if not found:
        raise DataError("No file was named. Give a path, a list of paths or a pattern.")
    return list(found.values())


def _matches(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.exists():
        return [path]
    if glob.has_magic(name):
        matches = sorted(glob.glob(str(path), recursive=True))
        if matches:
            return [Path(match) for match in matches]
        raise DataError(f"{name}: no file matches this pattern.")
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, beside) if beside else ""
    raise DataError(f"{name}: no such file.{hint if 'Did you mean' in hint else ''}")


def labels(paths: Sequence[Path], label: str | None = None) -> list[str]:
    """Name files by as few trailing parts of their paths as tell them apart, in printable text.

    Args:
        label: a name to use instead (for several files, before each file's own name).
    """
    if label is not None and len(paths) == 1:
        return [label]
    parts = [Path(_shown(os.path.abspath(path))).parts for path in paths]
    most = max(len(part) for part in parts)
    short = ["/".join(part[-1:]) for part in parts]
    for count in range(1, most + 1):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            break
    return [f"{label}/{name}" for name in short] if label is not None else short


def _shown(name: str) -> str:
    """The name with `\\x..` for what cannot be shown; bytes that are not UTF-8 are among that."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_pool(path: Path) -> bool:
    """Whether the path is a folder that `save_pool` wrote."""
    return (path / MANIFEST).is_file()


def records(path: Path) -> Iterator[Raw]:
    """Yield the raw records of a file or of a saved Hugging Face dataset.

    Raises:
        DataError: the file cannot be opened, is of an unknown kind, or is damaged.
    """
    try:
        yield from _records(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error}). Fetch it again.") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


def _records(path: Path) -> Iterator[Raw]:
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if path.is_dir():
        yield from _folder(path)
    elif kind not in KINDS:
        raise DataError(
            f"{path}: unknown kind of file {kind!r}. Known: {', '.join(KINDS)} "
            "(text kinds also with .gz after them), and folders of saved datasets or pools."
        )
    elif kind == ".parquet":
        yield from typed_files.parquet(path)
    else:
        with _open(path) as stream:
            yield from _texts(stream, path, kind)


def _texts(stream: BinaryIO, path: Path, kind: str) -> Iterator[Raw]:
    if kind == ".json":
        return json_array.json_array(stream, path)
    if kind in (".csv", ".tsv"):
        delimiter = "\t" if kind == ".tsv" else ","
        return text_files.separated(stream, path, delimiter)
    return text_files.json_lines(stream)


def _folder(path: Path) -> Iterator[Raw]:
    if typed_files.is_saved_dataset(path):
        return typed_files.saved_dataset(path)
    inside = sorted(p.name for p in path.iterdir())[:5]
    raise DataError(
        f"{path}: this folder is neither a treadle pool ({MANIFEST}) nor a saved dataset "
        f"({typed_files.STATE}). It holds {', '.join(inside) or 'nothing'}. "
        f"Name files or a pattern, for example {path / '*.jsonl'}."
    )


def _open(path: Path) -> BinaryIO:
    stream = path.open("rb")
    head = stream.read(16)
    stream.seek(0)
    if path.name.lower().endswith(".gz"):
        packed = path.stat().st_size
        return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, packed, path), 1 << 18))
    for magic, what in _NOT_TEXT.items():
        if head.startswith(magic):
            stream.close()
            raise DataError(f"{path}: this is not text but {what}.")
    return stream


class _Unpacked(io.RawIOBase):
    """A gzip stream that refuses to become a bomb."""

    def __init__(self, stream: BinaryIO, packed_bytes: int, path: Path) -> None:
        self._file, self._path, self._packed_bytes = stream, path, packed_bytes
        self._stream, self._bytes = gzip.GzipFile(fileobj=stream), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)
        self._bytes += count
        is_bomb = self._bytes > max(RATIO_FROM_BYTES, MAX_RATIO * self._packed_bytes)
        if is_bomb or self._bytes > MAX_UNPACKED_BYTES:
            raise DataError(
                f"{self._path}: {self._packed_bytes:,} bytes unpack to more than {self._bytes:,}, "
                "as a gzip bomb would. Unpack it yourself if you trust it."
            )
        return count

    def close(self) -> None:
        self._stream.close()
        self._file.close()
        super().close()
