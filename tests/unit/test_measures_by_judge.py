"""Measures that ask a judge: what is scored, what is left unscored and why, and who may not ask."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from judged import judged
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.selection import Budget
from treadle.errors import JudgeError, LicenceError, ModelError, RecipeError
from treadle.flywheel.features import measure_pool
from treadle.models.endpoint import Chat


def chat(*texts: str) -> Row:
    """A conversation, the user first; every reply carries loss."""
    turns = [
        Message("assistant" if i % 2 else "user", text, trains=bool(i % 2))
        for i, text in enumerate(texts)
    ]
    return Row("chat", tuple(turns))


def gold(rows: list[Row], scores: list[float]) -> list[dict[str, object]]:
    return [
        {"name": row.id, "request": row.prompt[0].content, "answer": row.reply, "score": value}
        for row, value in zip(rows, scores, strict=True)
    ]


def measured(rows: list[Row], name: str, context: Context, **options: object) -> dict[str, dict]:
    frame = measure_pool(Pool.of(rows), [name], {name: options}, context).frame
    return {one["id"]: one for one in frame.to_dicts()}


ROWS = [chat(f"What is {i} and {i}?", f"It is {2 * i}, I say.") for i in range(1, 7)]


def test_a_judges_scores_stand_beside_their_rows(tmp_path: Path) -> None:
    scores = [5.0, 4.0, 0.0, 3.0, 2.0, 5.0]
    with judged(tmp_path, gold=gold(ROWS, scores)) as context:
        found = measured(ROWS, "judged_quality", context)
    assert [found[row.id]["judged_quality"] for row in ROWS] == scores
    assert all(found[row.id]["judged_quality_unscored"] is None for row in ROWS)


def test_what_has_no_request_or_reply_is_unscored_and_a_shell_gets_the_least(
    tmp_path: Path,
) -> None:
    mute = Row("chat", (Message("user", "Say something."),))
    orphan = Row("chat", (Message("assistant", "Nobody asked.", trains=True),))
    shell = chat("Explain tides.", "Answer:")
    with judged(tmp_path) as context:
        found = measured([mute, orphan, shell, *ROWS], "judged_quality", context)
    assert found[mute.id]["judged_quality"] is None
    assert found[mute.id]["judged_quality_unscored"] == "no reply to judge"
    assert found[orphan.id]["judged_quality_unscored"] == "no request to judge"
    assert found[shell.id]["judged_quality"] == 0.0


def test_a_judge_that_says_nothing_leaves_rows_unscored_with_the_reason(tmp_path: Path) -> None:
    with judged(tmp_path, persona="silent") as context:
        found = measured(ROWS, "judged_quality", context)
    assert all(one["judged_quality"] is None for one in found.values())
    assert {one["judged_quality_unscored"] for one in found.values()} == {
        "no verdict with this call's code"
    }


def test_a_judge_that_falls_for_canaries_ends_the_step_instead_of_scoring(tmp_path: Path) -> None:
    with judged(tmp_path, fooled=1.0) as context, pytest.raises(JudgeError, match="canaries"):
        measured(ROWS, "judged_quality", context)


def test_a_judge_without_a_licence_is_not_asked(tmp_path: Path) -> None:
    log = tmp_path / "asked.jsonl"
    with judged(tmp_path, licensed=False, log=log) as context:
        for name in ("judged_quality", "judged_complexity", "deita_score", "answer_confidence"):
            with pytest.raises(LicenceError, match="judge license"):
                measured(ROWS, name, context)
    assert not log.exists() or not log.read_text()


def test_a_dead_endpoint_stops_the_step_and_quarantines_no_row(tmp_path: Path) -> None:
    with judged(tmp_path, url="http://127.0.0.1:9/v1") as context, pytest.raises(ModelError):
        measured(ROWS, "judged_quality", context)


def test_asking_again_asks_nobody_and_another_rubric_asks_anew(tmp_path: Path) -> None:
    log = tmp_path / "asked.jsonl"
    own = tmp_path / "mine.yaml"
    text = "name: mine\nkind: score\ninstructions: How good is it?\nscale: {low: 0, high: 5}\n"
    own.write_text(text)

    def asked() -> int:
        return len(log.read_text().splitlines())

    with judged(tmp_path, log=log) as context:
        measured(ROWS, "judged_quality", context)
        first = asked()
        measured(ROWS, "judged_quality", context)
        assert asked() == first
        measured(ROWS, "judged_quality", context, rubric=str(own))
        second = asked()
        assert second >= first + len(ROWS)
        own.write_text(text.replace("How good", "How very good"))
        measured(ROWS, "judged_quality", context, rubric=str(own))
        assert asked() >= second + len(ROWS)


def test_a_rubric_that_is_none_or_of_another_kind_is_refused_before_anything_runs() -> None:
    quality = registry.get("measure", "judged_quality")
    with pytest.raises(RecipeError, match="no rubric of that name"):
        quality.bind({"rubric": "alpagasos"})
    with pytest.raises(RecipeError, match="of kind score is needed"):
        quality.bind({"rubric": "tags"})
    with pytest.raises(RecipeError, match="of kind tags is needed"):
        registry.get("measure", "judged_tags").bind({"rubric": "alpagasus"})


def expectation(value: int) -> float:
    """The mean under the scripted judge's chances: weights exp(-(n - value)^2) over 1 to 6."""
    weights = {n: math.exp(-((n - value) ** 2)) for n in range(1, 7)}
    return sum(n * w for n, w in weights.items()) / sum(weights.values())


def test_deitas_score_is_the_sum_over_turns_of_complexity_times_quality(tmp_path: Path) -> None:
    one = chat("x" * 400, "first reply here")
    two = chat("x" * 200, "second reply here", "y" * 80, "third reply here")
    lines = [
        {"name": text[:9], "request": asked, "answer": text, "score": value}
        for asked, text, value in (
            ("x" * 400, "first reply here", 5), ("x" * 200, "second reply here", 2),
            ("y" * 80, "third reply here", 6),
        )
    ]  # fmt: skip
    with judged(tmp_path, gold=lines) as context:
        found = measured([one, two], "deita_score", context)
        mean = measured([one, two], "deita_score", context, over="mean")
        product = measured([one], "judged_complexity", context)
    whole = expectation(3) * expectation(2) + expectation(2) * expectation(6)
    assert found[one.id]["deita_score"] == pytest.approx(expectation(6) * expectation(5), abs=1e-6)
    assert found[two.id]["deita_score"] == pytest.approx(whole, abs=1e-6)
    assert found[two.id]["deita_score_turns"] == 2
    assert mean[two.id]["deita_score"] == pytest.approx(whole / 2, abs=1e-6)
    assert product[one.id]["judged_complexity"] == pytest.approx(expectation(6), abs=1e-6)


def test_a_turn_that_cannot_be_scored_leaves_its_row_unscored(tmp_path: Path) -> None:
    row = chat("A question of some length?", "A reply to it.", " ", "A reply to nothing.")
    with judged(tmp_path) as context:
        found = measured([row, *ROWS], "deita_score", context)
    assert found[row.id]["deita_score"] is None
    assert found[row.id]["deita_score_unscored"] == "turn 2: no request to judge"
    assert found[ROWS[0].id]["deita_score"] is not None


def test_alpagasus_keeps_rows_from_four_and_a_half_on(tmp_path: Path) -> None:
    """9,229 of 52,002 rows in the publication; the threshold itself is kept."""
    scores = [5.0, 4.0, 5.0, 3.0, 2.0, 5.0]
    with judged(tmp_path, gold=gold(ROWS, scores)) as context:
        frame = measure_pool(Pool.of(ROWS), ["length", "judged_quality"], {}, context).frame
    options = {"by": "judged_quality", "drop_below": 4.5}
    top = registry.get("select", "top").bind(options).make()
    kept = top(frame, Budget("share", 1.0), Context())
    assert set(kept.ids) == {ROWS[0].id, ROWS[2].id, ROWS[5].id}


def test_tags_are_those_the_judge_names_and_failures_say_why(tmp_path: Path) -> None:
    rows = [chat("Convert seventeen miles", "27 km"), Row("chat", (Message("user", " "),))]
    with judged(tmp_path) as context:
        found = measured(rows, "judged_tags", context)
    assert found[rows[0].id]["judged_tags"] == ["convert", "miles", "seventeen"]
    assert found[rows[1].id]["judged_tags"] is None
    assert found[rows[1].id]["judged_tags_unscored"] == "no request to judge"
    silent = tmp_path / "silent"
    silent.mkdir()
    with judged(silent, persona="silent") as context:
        found = measured(rows[:1], "judged_tags", context)
    assert found[rows[0].id]["judged_tags"] is None
    assert "wrong_schema" in found[rows[0].id]["judged_tags_unscored"]


def test_confidence_is_the_weighed_mean_of_agreement_and_reflection(tmp_path: Path) -> None:
    """The scripted judge answers any question with a line without data in it; so agreement is exact."""
    with judged(tmp_path) as context:
        endpoint = context.model("judge").endpoint
        (said,) = endpoint.ask([Chat.of("Say it.", max_tokens=512, temperature=1.0, sample=1)])
        same, other = chat("Say it.", said.text), chat("Say it.", "zebra quagga okapi")
        lines = gold([same, other], [1.0, 0.0])
        (tmp_path / "two").mkdir()
        with judged(tmp_path / "two", gold=lines) as known:
            found = measured([same, other], "answer_confidence", known, samples=3)
    assert found[same.id]["answer_confidence_agreement"] == pytest.approx(1.0, abs=1e-6)
    assert found[same.id]["answer_confidence"] == pytest.approx(1.0, abs=1e-6)
    assert found[other.id]["answer_confidence_reflection"] == 0.0
    agreement = found[other.id]["answer_confidence_agreement"]
    assert agreement < 0.5
    assert found[other.id]["answer_confidence"] == pytest.approx(0.7 * agreement)


def test_a_prompt_with_tools_is_not_played_by_the_judge(tmp_path: Path) -> None:
    row = Row("chat", (Message("user", "Look it up."), Message("tool", json.dumps({"a": 1})),
                       Message("assistant", "It is one.", trains=True)))  # fmt: skip
    with judged(tmp_path) as context:
        found = measured([row, *ROWS], "answer_confidence", context, samples=2)
    assert found[row.id]["answer_confidence"] is None
    assert found[row.id]["answer_confidence_unscored"] == "its prompt holds turns of tools"


def test_the_students_own_answers_are_judged_and_not_the_rows(tmp_path: Path) -> None:
    silent = Row("chat", (Message("user", " "), Message("assistant", "well", trains=True)))
    with judged(tmp_path) as context:
        student = context.model("student")
        answers = student.generate([row.prompt for row in ROWS], max_new_tokens=8)
        own = [
            {"name": row.id, "request": row.prompt[0].content, "answer": reply.text, "score": i % 6}
            for i, (row, reply) in enumerate(zip(ROWS, answers, strict=True))
        ]
    (tmp_path / "own").mkdir()
    with judged(tmp_path / "own", gold=own) as context:
        found = measured([silent, *ROWS], "judged_answer", context, max_new_tokens=8)
    spoken = [i for i, reply in enumerate(answers) if reply.text.strip()]
    assert spoken
    assert all(found[ROWS[i].id]["judged_answer"] == i % 6 for i in spoken)
    assert found[silent.id]["judged_answer_unscored"] == "no request to judge"


def test_mods_takes_first_what_the_trained_student_answers_worst() -> None:
    """The publication's necessity: low scores of its own answers, and none above the threshold."""
    ids = [f"{i:02d}" for i in range(12)]
    vectors = np.random.default_rng(0).normal(size=(12, 3)).tolist()
    rows = pl.DataFrame({"id": ids, "length_total": 10, "good": 1.0, "embedding": vectors})
    scores = [float(i % 6) for i in range(12)]
    taught: list[str] = []

    def learn(seed: Sequence[str]) -> pl.DataFrame:
        taught.extend(seed)
        return pl.DataFrame({"id": ids, "judged_answer": scores})

    options = {"by": "good", "necessity": "answer", "seed_share": 0.25, "necessary_below": 3.0}
    bound = registry.get("select", "mods").bind(options)
    assert bound.learns == ("judged_answer",)
    found = bound.make()(rows, Budget("rows", 8), Context(learn=learn))
    rest = [i for i in ids if i not in taught]
    expected = sorted((i for i in rest if scores[int(i)] <= 3), key=lambda i: (scores[int(i)], i))
    assert found.ids == [*taught, *expected[: 8 - len(taught)]]
    left = dict(found.left.rows())
    assert {i for i in left if left[i] == "judged_answer_after_seed_above_3"} == {
        i for i in rest if scores[int(i)] > 3
    }
