"""Verifier-made pairs, new with each seed: no judge can have seen them, and none of their labels is an opinion.

Right and wrong answer are worded alike and as long as each other, and stand first equally often. So
what is left to go by is which one is right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.judge.benchmark.numbers import NUMBERS
from treadle.judge.benchmark.task import Task, task
from treadle.judge.benchmark.texts import TEXTS
from treadle.judge.figures.groups import group_name
from treadle.judge.pairs import Pair

FAMILIES = {**NUMBERS, **TEXTS}
WORDINGS = (
    "The answer is: {}",
    "I get the following: {}",
    "Working it out gives: {}",
    "Here is the result: {}",
    "This is what I arrive at: {}",
)
LONGER_WORDINGS = (
    "I went through the task from its beginning to its end and looked at each part once more. After that, "
    "what I arrive at is: {}",
    "To do this, I read what is asked for, took it step by step, and looked over every step at the end. "
    "Having done so, I give as my result: {}",
    "Let me go through it in order, as it was given. With everything put together, this comes out as the "
    "answer to the request: {}",
)
POLISHED = (
    "**Answer: {}**\n\nI have checked this twice, by two independent methods, and both agree. The key insight is to "
    "read the task carefully and to proceed systematically, which rules out the usual mistakes.",
    "Great question! Let's break it down carefully:\n\n1. First, we read exactly what is asked.\n2. Then we apply each "
    "step in the right order.\n3. Finally, we verify the result.\n\n**Final answer: {}**",
    "{}\n\n*Explanation:* this follows directly from the definition. Any other result would contradict the "
    "statement of the task, so there can be no doubt that this is correct.",
)
GROUP = 4
"""Answers of a group: the right one and three wrong ones."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A task with the wording of its answers and the place of the right one: 1 or 2."""

    name: str
    task: Task
    wording: str
    label: int

    def pair(self, right: str, wrong: str, *, name: str = "", request: str = "") -> Pair:
        """The pair of two texts, in the places that were drawn."""
        one, two = (right, wrong) if self.label == 1 else (wrong, right)
        return Pair(name or self.name, request or self.task.request, one, two, self.label)

    @property
    def right(self) -> str:
        return self.wording.format(self.task.right)

    @property
    def wrong(self) -> str:
        return self.wording.format(self.task.wrong[0])


def draw(kind: str, count: int, seed: int) -> list[Drawn]:
    """Draw tasks: every family equally often, half of the right answers in each place.

    Another `kind` is another draw of the same seed.
    """
    rng = random.Random(f"{seed}:{kind}")
    labels = [1 + i % 2 for i in range(count)]
    rng.shuffle(labels)
    names = list(FAMILIES)
    found = []
    for i, label in enumerate(labels):
        family = names[i % len(names)]
        made = task(family, FAMILIES[family], rng)
        found.append(Drawn(f"{family}:{i}", made, rng.choice(WORDINGS), label))
    rng.shuffle(found)
    return found


def verifier(drawn: Sequence[Drawn]) -> list[Pair]:
    """Right against wrong, worded alike."""
    return [one.pair(one.right, one.wrong) for one in drawn]


def adversarial(drawn: Sequence[Drawn], seed: int) -> list[Pair]:
    """A terse right answer against a wrong one that shines, or that answers another request.

    Half of the wrong answers are right answers to a request that looks like this one, as the
    neighbours of LLMBar are.
    """
    rng = random.Random(f"{seed}:polish")
    found = []
    for i, one in enumerate(drawn):
        wrong = one.task.neighbour if i % 2 else one.task.wrong[0]
        found.append(one.pair(one.task.right, rng.choice(POLISHED).format(wrong)))
    return found


def ties(drawn: Sequence[Drawn], seed: int) -> list[Pair]:
    """Two right answers: answer 1 says it plainly, answer 2 with more words and no more in them."""
    rng = random.Random(f"{seed}:words")
    return [
        Pair(one.name, one.task.request, one.right,
             rng.choice(LONGER_WORDINGS).format(one.task.right), label=0)
        for one in drawn
    ]  # fmt: skip


def groups(drawn: Sequence[Drawn]) -> list[Pair]:
    """The right answer against each of three wrong ones, and two of the wrong ones against each other."""
    found = []
    for one in drawn:
        answers = [one.wording.format(text) for text in (one.task.right, *one.task.wrong)]
        for a, b in ((0, 1), (0, 2), (0, 3), (1, 2)):
            name = group_name(one.name, a, b)
            label = 1 if a == 0 else 0
            found.append(Pair(name, one.task.request, answers[a], answers[b], label))
    return found
