"""Read YAML together with the line of every key, so that an error can say where it is.

Only plain data: no tags, no aliases, no duplicate keys, at most 1 MB. As in YAML 1.2, `true` and
`false` alone are booleans: `on: hidden_state` is an option called on, not one called True.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from treadle.errors import RecipeError

MAX_BYTES = 1_000_000
KeyPath = tuple[str, ...]
_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Plain data, with the booleans of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _BOOLEAN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOLEAN, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and the line (1-based) of each key path."""

    name: str
    data: dict[str, object]
    lines: Mapping[KeyPath, int]

    def where(self, *path: str) -> str:
        """Return `name:line` of the key path, or of its nearest parent that is written down."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line:
                return f"{self.name}:{line}"
        return self.name

    def with_value(self, path: KeyPath, value: object, origin: str) -> Document:
        """Return a copy in which the key path has another value (for `--set`)."""
        data = _set(self.data, path, value, origin)
        lines = {p: n for p, n in self.lines.items() if p[: len(path)] != path}
        return Document(self.name, data, lines)


def setting(text: str) -> tuple[str, object]:
    """Read the text of a `--set`, `key=value`, with a value in YAML.

    Raises:
        RecipeError: it is written otherwise.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {text}: write it as key=value, for example epochs=2.")
    try:
        return key.strip(), yaml.load(value, _Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"--set {text}: the value is not valid YAML.") from error


def _set(
    data: Mapping[str, object], path: KeyPath, value: object, origin: str
) -> dict[str, object]:
    head, rest = path[0], path[1:]
    if not rest:
        return {**data, head: value}
    inner = data.get(head, {})
    if not isinstance(inner, Mapping):
        raise RecipeError(f"{origin}: {head} is {inner!r}, which has no key {rest[0]!r}.")
    return {**data, head: _set(inner, rest, value, origin)}


def parse(
    text: str, name: str, *, noun: str = "recipe", example: str = "student: embedded"
) -> Document:
    """Parse the text of a recipe, or of what else people write by hand (`noun`, with an `example`).

    Raises:
        RecipeError: not YAML, too large, not a mapping, an alias or a key written twice.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise RecipeError(f"{name}: larger than 1 MB; this is not a {noun}.")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _Loader)):
            raise RecipeError(f"{name}: YAML aliases (*name) are not allowed in a {noun}.")
        node = yaml.compose(text, _Loader)
        data = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{name}{line}: not valid YAML: {problem}.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{name}: not valid YAML: {error}.") from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{name}: a {noun} is a mapping such as `{example}`, got {data!r}.")
    lines: dict[KeyPath, int] = {}
    _walk(node, (), lines, name)
    return Document(name, data, lines)


def _walk(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int], name: str) -> None:
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            raise RecipeError(f"{name}:{line}: key {key.value!r} is written twice.")
        lines[here] = line
        if isinstance(value, yaml.MappingNode):
            _walk(value, here, lines, name)
