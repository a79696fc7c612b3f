"""Files to read, and what was read of them."""

from pathlib import Path

from treadle.data.formats.read import Loaded

GOOD = '{"prompt": "2+2?", "completion": "4"}'
OTHER = '{"prompt": "3+3?", "completion": "6"}'
RECORDS = [{"prompt": f"{i}?", "completion": str(i), "id": i} for i in range(5)]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    blob = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    path.write_bytes(blob)
    return path


def lines_of(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


def counts_add_up(loaded: Loaded) -> bool:
    return loaded.read == len(loaded.pool) + loaded.merged + len(loaded.quarantine)


def replies(loaded: Loaded) -> set[str]:
    return {row.reply for row in loaded.pool.rows()}
