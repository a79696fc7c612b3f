"""Tasks about words and records: sorting, editing, counting, extracting, comparing, reasoning in order."""

from __future__ import annotations

import json
import random
from itertools import pairwise

from treadle.judge.benchmark.task import Draft, Family, is_list, is_number, nearby

Random = random.Random
WORDS = [
    "amber", "basket", "candle", "desert", "ember", "falcon", "garden", "harbor", "island",
    "jungle", "kettle", "lantern", "meadow", "needle", "orange", "pepper", "quartz", "ribbon",
    "silver", "timber", "umbrella", "velvet", "willow", "yellow", "zephyr", "anchor", "bottle",
    "copper", "dragon", "engine", "forest", "goblet", "hammer", "insect", "jacket", "kitten",
    "ladder", "marble", "napkin", "oyster", "parrot", "rocket", "saddle", "tunnel", "valley",
]  # fmt: skip
NAMES = [
    "Ana",
    "Ben",
    "Chloe",
    "David",
    "Elif",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Liam",
    "Mona",
    "Nils",
    "Olga",
    "Paul",
]
CITIES = [
    "Lisbon",
    "Oslo",
    "Kyoto",
    "Quito",
    "Dublin",
    "Nairobi",
    "Prague",
    "Toronto",
    "Hanoi",
    "Lima",
    "Tunis",
    "Riga",
]


def swaps(items: list[str]) -> tuple[str, ...]:
    """The list with two neighbours exchanged, at every place."""
    found = []
    for i in range(len(items) - 1):
        other = [*items[:i], items[i + 1], items[i], *items[i + 2 :]]
        found.append(", ".join(other))
    return tuple(found)


def sorting(rng: Random) -> Draft:
    """Numbers in ascending order."""
    numbers = rng.sample(range(100, 999), 7)
    right = [str(n) for n in sorted(numbers)]
    return Draft(
        f"Sort in ascending order: {', '.join(map(str, numbers))}. Give the list, separated by commas.",
        ", ".join(right),
        swaps(right),
        ", ".join(reversed(right)),
        is_list(right),
    )


def alphabet(rng: Random) -> Draft:
    """Words in reverse alphabetical order."""
    words = rng.sample(WORDS, 6)
    right = sorted(words, reverse=True)
    return Draft(
        f"Put these words into reverse alphabetical order: {', '.join(words)}. Give the list, separated by "
        "commas.",
        ", ".join(right),
        swaps(right),
        ", ".join(sorted(words)),
        is_list(right),
    )


def editing(rng: Random) -> Draft:
    """A string spelt backwards."""
    word = rng.choice(WORDS) + rng.choice(("s", "er", "ing"))
    right = word[::-1]
    exchanged = []
    for i in range(len(right) - 1):
        if right[i] != right[i + 1]:
            exchanged.append(right[:i] + right[i + 1] + right[i] + right[i + 2 :])
    return Draft(
        f'Write the string "{word}" backwards.',
        right,
        tuple(exchanged),
        word,
        lambda text: text == right,
    )


def counting(rng: Random) -> Draft:
    """How often a letter comes in a list of words."""
    words = rng.sample(WORDS, 8)
    letter = rng.choice("aeinrlt")
    right = sum(word.count(letter) for word in words)
    holding = sum(letter in word for word in words)
    return Draft(
        f'How often does the letter "{letter}" come in these words, all in all: {" ".join(words)}? Give the '
        "number.",
        str(right),
        nearby(right, rng, holding, right + 3),
        str(sum(map(len, words))),
        is_number(right),
    )


def extraction(rng: Random) -> Draft:
    """One person's record as JSON, out of a sentence about two."""
    people = rng.sample(NAMES, 2)
    cities = rng.sample(CITIES, 2)
    ages = rng.sample(range(21, 79), 2)
    told = [
        f"{name} is {age} years old and lives in {city}"
        for name, age, city in zip(people, ages, cities, strict=True)
    ]

    def record(name: str, age: int, city: str) -> str:
        return json.dumps({"name": name, "age": age, "city": city})

    wanted = {"name": people[0], "age": ages[0], "city": cities[0]}
    slips = [
        record(people[0], ages[1], cities[0]),
        record(people[0], ages[0], cities[1]),
        record(people[0], ages[0] + 1, cities[0]),
        record(people[0], ages[0] - 1, cities[0]),
        record(people[1], ages[0], cities[0]),
    ]
    return Draft(
        f"{rng.choice([' and ', '; ']).join(told)}. Give the record of {people[0]} as a JSON object with the keys "
        "name, age and city.",
        json.dumps(wanted),
        tuple(slips),
        record(people[1], ages[1], cities[1]),
        lambda text: _object(text) == wanted,
    )


def common(rng: Random) -> Draft:
    """The words that two lists share, in the order of the first."""
    words = rng.sample(WORDS, 11)
    shared, first, second = words[:4], words[4:7], words[7:]
    one, other = [*shared, *first], [*shared, *second]
    rng.shuffle(one)
    rng.shuffle(other)
    right = [word for word in one if word in shared]
    slips = []
    for place in range(len(right)):
        for stranger in (*first, *second):
            slips.append(", ".join([*right[:place], stranger, *right[place + 1 :]]))
    return Draft(
        f"List A: {', '.join(one)}. List B: {', '.join(other)}. Which words are in both lists? Give them in the "
        "order of list A, separated by commas.",
        ", ".join(right),
        tuple(slips),
        ", ".join(word for word in one if word not in shared),
        is_list(right),
    )


def ordering(rng: Random) -> Draft:
    """Who comes third, by pairwise comparisons told out of order."""
    people = rng.sample(NAMES, 5)
    facts = [f"{a} is taller than {b}." for a, b in pairwise(people)]
    rng.shuffle(facts)
    right = people[2]
    close = [name for name in people if abs(len(name) - len(right)) <= 1]
    return Draft(
        f"{' '.join(facts)} Who is the third tallest? Give the name.",
        right,
        tuple(close),
        people[-2],
        lambda text: text == right,
    )


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


TEXTS: dict[str, Family] = {
    "sorting": sorting, "alphabet": alphabet, "editing": editing, "counting": counting,
    "extraction": extraction, "common": common, "ordering": ordering,
}  # fmt: skip
