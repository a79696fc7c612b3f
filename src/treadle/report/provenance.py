"""What this run was made from, so that a sceptic can make it again: recipe, versions, hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from treadle.report.facts import facts
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count, size

# Times, costs and this page itself: they differ from run to run and are not results.
NOT_DATA = ("ledger.sqlite", "report.html", "estimate.json", "manifest.json")
SHOWN_ELSEWHERE = ("lint", "audit", "train", "arms", "planted")


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file of the run folder."""

    name: str
    size_bytes: int
    sha256: str


def recipe(run: RunFolder) -> Section:
    """Return the section with the resolved recipe."""
    title, short = "The recipe", "Recipe"
    if run.recipe is None:
        return Section("recipe", title, short, absent("recipe.yaml is not there."))
    words = explain(
        "Resolved: every option that the recipe left open is written out with the value it had."
    )
    return Section("recipe", title, short, join([words, tag("pre", *_coloured(run.recipe))]))


def _coloured(text: str) -> Iterator[Child]:
    """Mark keys and comments of plain YAML lines."""
    for line in text.split("\n"):
        key, colon, rest = line.partition(":")
        bare = key.strip().removeprefix("- ").replace("_", "").replace("-", "").replace(" ", "")
        if line.lstrip().startswith("#"):
            yield tag("span", line, class_="comment")
        elif colon and bare.isalnum() and (not rest or rest.startswith(" ")):
            yield tag("span", key, class_="key")
            yield f"{colon}{rest}"
        else:
            yield line
        yield "\n"


def provenance(run: RunFolder) -> Section:
    """Return the section with what was used, the hashes and how to make the run again."""
    body = join(
        [
            _how(run),
            *_recorded(run),
            _hashes(run),
        ]
    )
    return Section("provenance", "Versions, hashes, and how to reproduce", "Reproduce", body)


def _how(run: RunFolder) -> Safe:
    return join(
        [
            explain(
                "Same recipe, same data, same code: same bytes. Pools, features, selections, per-item "
                "results and the verdict depend on nothing else; times and costs are kept apart."
            ),
            tag(
                "pre",
                f"treadle run RECIPE.yaml --out runs/{run.name}-again\n"
                f"diff runs/{run.name}/manifest.json runs/{run.name}-again/manifest.json",
            ),
            explain(
                "Save the recipe above as RECIPE.yaml beside the data that it names. No difference "
                "means that every data artefact is the same, byte for byte."
            ),
        ]
    )


def _recorded(run: RunFolder) -> Iterator[Child]:
    """What the run wrote down about its student, versions and inputs."""
    rest = {k: v for k, v in run.figures.items() if k not in SHOWN_ELSEWHERE}
    for name, value in rest.items():
        if isinstance(value, Mapping):
            yield tag("h3", str(name).replace("_", " ").capitalize())
            yield facts({str(k): v for k, v in value.items()})
    plain = {k: v for k, v in rest.items() if not isinstance(v, Mapping)}
    if plain:
        yield facts(plain)


def _hashes(run: RunFolder) -> Safe:
    found = list(artefacts(run.path))
    expected = _manifest(run.path)
    columns = [Column("File"), Column("Size", True), Column("SHA-256", kind="hash")]
    if expected is not None:
        columns.append(Column("Manifest"))
    rows: list[tuple[Child, ...]] = []
    for one in found:
        row: tuple[Child, ...] = (one.name, size(one.size_bytes), tag("code", one.sha256))
        rows.append(row if expected is None else (*row, _matches(one, expected)))
    pool = None if run.pool is None else tag("p", "Pool id: ", tag("code", run.pool.id))
    words = explain(
        "The hash changes when a single byte of a file does. ledger.sqlite (times, costs) and this "
        "report are not results and have none."
    )
    title = f"Data artefacts ({count(len(found))} files)"
    lost = sorted(set(expected or ()) - {one.name for one in found})
    gone = absent(f"In the manifest but not in the folder: {', '.join(lost)}.") if lost else None
    return join([tag("h3", "Hashes"), pool, words, gone, table(title, columns, rows)])


def artefacts(folder: Path) -> Iterator[Artefact]:
    """Yield every data file of a run folder with its hash, by name."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in Path(name).parts)
        if is_hidden or name.startswith(NOT_DATA) or path.is_symlink() or not path.is_file():
            continue
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        yield Artefact(name, path.stat().st_size, digest.hexdigest())


def _manifest(folder: Path) -> dict[str, str] | None:
    try:
        found = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else None


def _matches(one: Artefact, expected: Mapping[str, str]) -> Safe:
    if one.name not in expected:
        return tag("span", "not listed", class_="is-unclear")
    if expected[one.name] == one.sha256:
        return tag("span", "✓ same", class_="is-better")
    return tag("span", "✗ differs", class_="is-worse")
