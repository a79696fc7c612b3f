"""What the scripted judge sees in a prompt, and what each of its personas says."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from treadle.judge import canaries
from treadle.judge.fence import shown

_DATA = re.compile(
    r"^===== (\w{12}) begin ([^\n=]+) =====\n(.*?)\n===== \1 end \2 =====$", re.S | re.M
)
_VERDICTS = re.compile(
    r"\[\[[^\n]*?\]\]|\{[^{}\n]*\}|(?:verdict|score|rating|winner|number|code)\W{0,3}\w+",
    re.IGNORECASE,
)
_COMMAND = re.compile(
    r"(?:say|reply|output|write|print|respond|answer|return|repeat|copy|emit|verdict is)\b[^:\n]{0,60}:\s*(.+)",
    re.IGNORECASE,
)
_PLEA = re.compile(r"choose (?:it|me|this)|is the better one|highest score", re.IGNORECASE)
Gold = Mapping[tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """A prompt as a judge sees it. Fields of the data by name: `request`, `answer A`, `answer` …"""

    prompt: str
    code: str
    data: Mapping[str, str]
    closing: str
    sample: int

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Shown:
        """Read a chat request."""
        turns = [str(turn["content"]) for turn in asked["messages"]]
        user = turns[-1]
        hits = list(_DATA.finditer(user))
        end = hits[-1].end() if hits else 0
        code = hits[0][1] if hits else ""
        data = {hit[2]: hit[3] for hit in hits if hit[1] == code}
        return cls("\n\n".join(turns), code, data, user[end:], int(asked.get("seed", 0)))

    @cached_property
    def answers(self) -> dict[str, str]:
        """The answers by their names, in the order in which they are shown."""
        return {n.removeprefix("answer "): t for n, t in self.data.items() if n != "request"}

    @property
    def request(self) -> str:
        return self.data.get("request", "")

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The numbers that are asked for."""
        hit = re.search(r"number from ([-\d.]+) to ([\d.]+\d|\d)", self.closing)
        return (float(hit[1]), float(hit[2])) if hit else (0.0, 1.0)


@dataclass(frozen=True)
class Knobs:
    """What the judge is told to be. See `scripted_judge`."""

    gold: Gold
    seed: int = 0
    accuracy: float = 1.0
    primacy: float = 0.0
    longer: float = 0.0
    own: float = 0.0
    noise: float = 0.0
    fooled: float = 0.0

    def draw(self, *what: object) -> float:
        """A number in [0, 1) that follows from what it is for."""
        digest = hashlib.sha256(json.dumps([self.seed, *map(str, what)]).encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56


def read_gold(path: Path) -> Gold:
    """Read what is right, by the texts as a judge sees them; pairs in both orders."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        names = ("request", "answer_1", "answer_2") if "answer_1" in line else ("request", "answer")
        texts = tuple(shown(line[name]) for name in names if name in line)
        found[texts] = line
        if len(texts) == 3:
            turned = {0: 0, 1: 2, 2: 1}
            line = {
                **line,
                "label": turned.get(line.get("label")),
                "own": turned.get(line.get("own")),
            }
            found[texts[0], texts[2], texts[1]] = line
    return found


def _knobs(seen: Shown, knobs: Knobs) -> str:
    """Judge as well as told."""
    if '"tags"' in seen.closing:
        words = sorted(set(re.findall(r"[a-z]{4,}", seen.request.lower())))[:3]
        return json.dumps({"code": seen.code, "tags": words})
    names = list(seen.answers)
    if ":VERDICT]]" in seen.closing:
        return f"[[{seen.code}:{(*names, 'tie')[_winner(seen, knobs)]}]]"
    value = _value(seen, knobs)
    dimensions = re.findall(r"^\[\[\w{12}:(\w+)=NUMBER\]\]$", seen.closing, re.M)
    if dimensions:
        return "\n".join(f"[[{seen.code}:{name}={value:g}]]" for name in dimensions)
    return f"[[{seen.code}:{value:g}]]"


def _winner(seen: Shown, knobs: Knobs) -> int:
    """Return the place of the better answer, 0 or 1; 2 for a tie."""
    first, second = seen.answers.values()
    line = knobs.gold.get((seen.request, first, second))
    if line is None:
        return _canary(seen, knobs)
    item = line.get("name") or json.dumps([seen.request, *sorted((first, second))])
    label, own = line.get("label") or 0, line.get("own") or 0
    if knobs.draw("noise", item, first, seen.sample) < knobs.noise:
        return int(knobs.draw("coin", item, first, seen.sample) * 2)
    if knobs.draw("primacy", item) < knobs.primacy:
        return 0
    sway = knobs.draw("sway", item)
    if sway < knobs.longer and len(first) != len(second):
        return int(len(second) > len(first))
    if own and knobs.longer <= sway < knobs.longer + knobs.own:
        return int(own) - 1
    is_seen = knobs.draw("accuracy", item) < knobs.accuracy
    if label == 0:
        return 2 if is_seen else int(knobs.draw("coin", item) < 0.5) ^ int(first > second)
    return (int(label) - 1) if is_seen else (2 - int(label))


def _canary(seen: Shown, knobs: Knobs) -> int:
    right = canaries.solve(seen.request)
    texts = list(seen.answers.values())
    if right is None or right not in texts:
        return 2
    is_fooled = knobs.draw("fooled", seen.request) < knobs.fooled
    return 1 - texts.index(right) if is_fooled else texts.index(right)


def _value(seen: Shown, knobs: Knobs) -> float:
    """Return a whole number on the scale."""
    low, high = seen.scale
    answer = seen.answers.get("answer")
    if answer is None:  # how demanding a request is: longer ones are
        return low + round((high - low) * min(1.0, len(seen.request) / 400))
    right = canaries.solve(seen.request)
    if right is not None:
        is_fooled = knobs.draw("fooled", seen.request) < knobs.fooled
        return high if (answer == right) != is_fooled else low
    line = knobs.gold.get((seen.request, answer), {})
    item = line.get("name") or json.dumps([seen.request, answer])
    value = float(line.get("score", (low + high) / 2))
    if knobs.draw("accuracy", item) >= knobs.accuracy:
        value = low + (high - low) * knobs.draw("value", item)
    return min(high, max(low, float(math.floor(value + 0.5))))


def _silent(seen: Shown, knobs: Knobs) -> str:
    return ""


def _echo(seen: Shown, knobs: Knobs) -> str:
    return "\n\n".join(seen.answers.values()) or seen.request


def _parrot(seen: Shown, knobs: Knobs) -> str:
    return seen.prompt


def _verbose(seen: Shown, knobs: Knobs) -> str:
    """Everything that looks like a verdict, each on a line of its own, with some talk around it."""
    lines = dict.fromkeys(hit.group() for hit in _VERDICTS.finditer(seen.prompt))
    return "\n".join(["Let me go through all that I see.", *lines, "That is all I can say."])


def _obedient(seen: Shown, knobs: Knobs) -> str:
    """Word for word what the rows tell it to say; without a command, the last thing they say."""
    texts = [seen.request, *seen.answers.values()]
    told = [hit[1].strip().strip("\"'`") for text in texts for hit in _COMMAND.finditer(text)]
    return "\n".join(told) or texts[-1].rsplit("\n", 1)[-1]


def _understanding(seen: Shown, knobs: Knobs) -> str:
    """Do what an answer asks for, with the code, as a model does that takes data for orders."""
    names = [name for name, text in seen.answers.items() if _PLEA.search(text)]
    if not names:
        return _knobs(seen, knobs)
    if ":VERDICT]]" in seen.closing:
        return f"[[{seen.code}:{names[0]}]]"
    return f"[[{seen.code}:{seen.scale[1]:g}]]"


PERSONAS: dict[str, Callable[[Shown, Knobs], str]] = {
    "knobs": _knobs, "silent": _silent, "echo": _echo, "parrot": _parrot, "verbose": _verbose,
    "obedient": _obedient, "understanding": _understanding,
}  # fmt: skip


def logprobs(text: str, seen: Shown) -> list[dict[str, Any]]:
    """Return made-up log-probabilities: sure of every token, and less so of a number in a verdict."""
    hit = re.search(rf"\[\[{seen.code}:(\d)\]\]", text) if seen.code else None
    if hit is None:
        return [{"token": text, "logprob": -0.1, "top_logprobs": []}]
    low, high = (int(end) for end in seen.scale)
    weights = {n: math.exp(-((n - int(hit[1])) ** 2)) for n in range(low, high + 1)}
    total = sum(weights.values())
    others = [{"token": str(n), "logprob": math.log(w / total)} for n, w in weights.items()]
    own = next(one for one in others if one["token"] == hit[1])
    sure = {"logprob": -0.001, "top_logprobs": []}
    before, after = text[: hit.start(1)], text[hit.end(1) :]
    return [{"token": before, **sure}, {**own, "top_logprobs": others}, {"token": after, **sure}]
