"""The gate as users meet it: decisions, sentences, notes, pairing, and results it refuses."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gate_worlds import Floats, results_frame
from treadle import op as registry
from treadle.context import Context
from treadle.data.verdict import Comparison, Decision, Verdict
from treadle.errors import DataError, RecipeError
from treadle.gate.paired import paired
from treadle.gate.pairs import Pair
from treadle.gate.sentence import Claim, Words, difference, sentence
from treadle.gate.statistics import error_of_items

GAINS = {"selected": 0.2, "random": 0.0, "longest": 0.0, "before": -0.5, "full": 0.2}


def scores(
    gains: dict[str, float],
    *,
    seeds: int = 3,
    items: int = 60,
    spread: float = 0.1,
    training: float = 0.01,
    seed: int = 0,
) -> dict[str, Floats]:
    """Scores of each arm, seed by item; `before` and `full` have one seed."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=items) - 2
    found = {}
    for name, gain in gains.items():
        rows = 1 if name in ("before", "full") else seeds
        luck = training * rng.normal(size=(rows, 1)) + spread * rng.normal(size=(rows, items))
        found[name] = base + gain + luck
    return found


def judge(arms: dict[str, Floats], clusters: list[int] | None = None, **options: object) -> Verdict:
    groups = None if clusters is None else np.array(clusters)
    bound = registry.get("gate", "paired").bind({"resamples": 1000, **options})
    sign = 1.0 if options.get("metric") == "exact_match" else -1.0
    verdict: Verdict = bound.make()(results_frame(arms, groups, sign=sign), Context(seed=1))
    return verdict


def test_a_selection_better_than_every_rival_is_accepted_with_its_numbers() -> None:
    verdict = judge(scores(GAINS))
    assert verdict.decision == "accept"
    assert verdict.sentence.startswith(
        "Accept: the selection beats a random selection of the same size (NLL better by 0."
    )
    assert verdict.sentence.endswith("; 3 seeds × 60 items).")
    assert verdict.sentence.count("90% interval") == 3
    assert [(a.name, a.role, len(a.by_seed)) for a in verdict.arms] == [
        ("selected", "tested", 3), ("random", "control", 3), ("longest", "control", 3),
        ("before", "incumbent", 1), ("full", "reference", 1),
    ]  # fmt: skip
    tested = verdict.arms[0]
    assert tested.mean == pytest.approx(np.mean(tested.by_seed))
    assert tested.low < tested.mean < tested.high
    assert tested.mean == pytest.approx(-scores(GAINS)["selected"].mean())
    against = {c.against: c for c in verdict.comparisons}
    assert against["random"].effect == pytest.approx(0.2, abs=0.05)
    assert against["before"].effect == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("rival", ["random", "longest", "before"])
def test_a_selection_that_beats_all_but_one_is_held_and_the_one_is_named(rival: str) -> None:
    verdict = judge(scores({**GAINS, rival: 0.195}))
    assert verdict.decision == "hold"
    names = {
        "random": "a random selection of the same size",
        "longest": "the longest rows of the same size",
        "before": "the model before training",
    }
    assert verdict.sentence.startswith(
        f"Hold: the selection is not shown to beat {names.pop(rival)} (NLL "
    )
    assert not any(name in verdict.sentence for name in names.values())


@pytest.mark.parametrize(
    ("rival", "decision"), [("random", "roll_back"), ("before", "roll_back"), ("longest", "hold")]
)
def test_only_losing_to_random_or_to_the_incumbent_rolls_back(rival: str, decision: str) -> None:
    verdict = judge(scores({**GAINS, rival: 0.6}))
    assert verdict.decision == decision
    if decision == "roll_back":
        assert verdict.sentence.startswith("Roll back: the selection is worse than ")
        assert "NLL worse by 0." in verdict.sentence


def test_the_reference_is_shown_and_never_decides() -> None:
    verdict = judge(scores({**GAINS, "full": 3.0}))
    assert verdict.decision == "accept"
    assert any(
        n.startswith("Against all rows (shown, does not decide): NLL worse") for n in verdict.notes
    )
    assert any(n.startswith("Against full: that arm was trained once") for n in verdict.notes)
    without = judge({k: v for k, v in scores(GAINS).items() if k != "full"})
    assert without.decision == "accept"
    assert any("'full' is not in the results" in n for n in without.notes)
    assert not judge(scores(GAINS), reference=None).notes


def test_a_reference_that_is_also_a_control_decides() -> None:
    arms = scores({**GAINS, "full": 3.0})
    verdict = judge(arms, controls=("random", "full"))
    assert verdict.decision == "hold"
    assert "all rows" in verdict.sentence


def test_one_seed_holds_what_would_be_accepted_and_says_why() -> None:
    verdict = judge(scores(GAINS, seeds=1))
    assert verdict.decision == "hold"
    assert "but on one training seed" in verdict.sentence
    assert "Train at least 3 seeds" in verdict.sentence
    assert "1 seed × 60 items" in verdict.sentence
    assert sum("luck of items only" in n for n in verdict.notes) == 1


def test_one_seed_rolls_nothing_back_either_and_says_why() -> None:
    verdict = judge(scores({**GAINS, "selected": -0.4}, seeds=1))
    assert verdict.comparisons[0].p_worse <= 0.05
    assert verdict.decision == "hold"
    assert verdict.sentence.startswith(
        "Hold: the selection is worse than a random selection of the same size (NLL worse by 0."
    )
    assert "1 seed × 60 items), but on one training seed" in verdict.sentence
    assert verdict.sentence.endswith("a difference on one seed may be luck of training.")


def test_two_seeds_roll_back_but_do_not_accept() -> None:
    held = judge(scores(GAINS, seeds=2))
    assert all(c.p_better <= 0.05 for c in held.comparisons[:3])
    assert held.decision == "hold"
    assert "but some arm has fewer than 3 training seeds. Train at least 3 seeds" in held.sentence
    assert judge(scores({**GAINS, "selected": -5.0}, seeds=2)).decision == "roll_back"


@pytest.mark.parametrize(("arm", "decision"), [("random", "hold"), ("longest", "accept")])
def test_the_random_control_needs_three_seeds_of_its_own(arm: str, decision: str) -> None:
    arms = scores(GAINS)
    arms[arm] = arms[arm][:1]
    verdict = judge(arms)
    assert all(c.p_better <= 0.05 for c in verdict.comparisons[:3])
    assert verdict.decision == decision


def test_what_is_lost_on_the_scored_items_alone_is_held_when_many_have_no_score() -> None:
    arms = scores({**GAINS, "selected": -0.9})
    arms["selected"][1, :6] = np.nan
    assert judge(arms).decision == "roll_back"
    arms["before"][0, 6], arms["random"][0, 6] = np.nan, np.nan
    held = judge(arms)
    assert held.decision == "hold"
    assert "is worse than a random selection of the same size (" in held.sentence
    assert "but more than 10% of the items have no score in some arm" in held.sentence


def test_unscored_items_are_left_out_and_more_than_a_tenth_of_them_prevents_acceptance() -> None:
    arms = scores(GAINS)
    arms["selected"][1, :6] = np.nan
    verdict = judge(arms)
    assert verdict.decision == "accept"
    assert {c.items for c in verdict.comparisons} == {54}
    assert "Against random: 6 of 60 items left out" in " ".join(verdict.notes)
    arms["longest"][0, 6] = np.nan
    held = judge(arms)
    assert held.decision == "hold"
    assert "more than 10% of the items have no score in some arm" in held.sentence
    assert "54 to 53" not in held.sentence
    assert "53 to 54 items" in held.sentence


def test_a_missing_score_is_not_a_zero() -> None:
    arms = scores({**GAINS, "selected": 0.0})
    arms["random"][:, :3] = np.nan
    arms["random"][1, 3] = np.inf
    arms["selected"][:, 4] = -np.inf
    effect = {c.against: c.effect for c in judge(arms).comparisons}["random"]
    expected = (arms["selected"] - arms["random"])[:, 5:].mean()
    assert effect == pytest.approx(expected)


def test_clusters_widen_the_interval_and_few_of_them_are_noted() -> None:
    arms = scores(GAINS, items=60)
    own = np.repeat(np.random.default_rng(3).normal(size=6), 10)
    arms["selected"] = arms["selected"] + 0.3 * own
    alone = judge(arms)
    grouped = judge(arms, [i // 10 for i in range(60)])
    widths = [v.comparisons[0].high - v.comparisons[0].low for v in (alone, grouped)]
    assert widths[1] > 1.5 * widths[0]
    assert [c.clusters for c in grouped.comparisons[:3]] == [6, 6, 6]
    assert any("only 6 clusters" in n for n in grouped.notes)
    assert not any("clusters" in n for n in alone.notes)


def test_items_of_one_single_source_are_counted_alone_and_decide_nothing() -> None:
    arms = scores(GAINS)
    verdict = judge(arms, [7] * 60)
    for one, none in zip(verdict.comparisons, judge(arms).comparisons, strict=True):
        assert (one.items, one.clusters) == (60, 1)
        assert one.sd_items == pytest.approx(none.sd_items)
        assert (one.low, one.high) == pytest.approx((none.low, none.high), rel=0.1, abs=0.02)
    assert verdict.decision == "hold"
    assert "3 seeds × 60 items in 1 cluster), but all items come from one source; this says " in (
        verdict.sentence
    )
    assert sum("All items come from one source" in note for note in verdict.notes) == 1
    assert not any("only 1 clusters" in note for note in verdict.notes)
    worse = judge(scores({**GAINS, "selected": -0.9}), [7] * 60)
    assert worse.comparisons[0].p_worse <= 0.05
    assert worse.decision == "hold"


def test_the_sentence_names_clusters_where_they_are_what_is_counted() -> None:
    verdict = judge(scores(GAINS, items=120), [i // 10 for i in range(120)])
    assert verdict.sentence.endswith("; 3 seeds × 120 items in 12 clusters).")


def test_an_item_without_a_source_is_a_cluster_of_its_own() -> None:
    frame = results_frame(scores(GAINS), np.arange(60) // 2)
    bare = frame.with_columns(
        pl.when(pl.col("source") == "g0").then(None).otherwise(pl.col("source")).alias("source")
    )
    verdict = paired(resamples=200)(bare, Context())
    assert {c.clusters for c in verdict.comparisons} == {31}


def test_seeds_are_paired_by_place_and_an_uneven_number_is_noted() -> None:
    arms = scores(GAINS, seeds=4)
    arms["random"] = arms["random"][:2]
    verdict = judge(arms)
    found = verdict.comparisons[0]
    assert found.seeds == 2
    assert found.effect == pytest.approx((arms["selected"][:2] - arms["random"]).mean())
    assert "Against random: 4 seeds meet 2; the first 2 of each are paired." in verdict.notes


def test_a_control_trained_once_widens_its_interval_and_the_untrained_model_does_not() -> None:
    arms = scores(GAINS, training=0.05)
    whole = {c.against: c for c in judge(arms).comparisons}
    arms["random"] = arms["random"][:1]
    once = {c.against: c for c in judge(arms).comparisons}
    by_seed = arms["selected"].mean(axis=1)
    assert once["random"].sd_seeds == pytest.approx(by_seed.std(ddof=1) * np.sqrt(1 / 3 + 1))
    assert whole["before"].sd_seeds == pytest.approx(by_seed.std(ddof=1) * np.sqrt(1 / 3))


def test_zero_one_scores_are_told_in_points_and_must_pass_the_exact_test_too() -> None:
    rng = np.random.default_rng(0)
    arms = {
        name: (rng.random((1 if name == "before" else 3, 200)) < chance).astype(float)
        for name, chance in (("selected", 0.8), ("random", 0.4), ("longest", 0.4), ("before", 0.1))
    }
    verdict = judge(arms, metric="exact_match", reference=None)
    assert verdict.decision == "accept"
    assert "(exact match better by 37 points, 90% interval 26 to " in verdict.sentence
    assert all(0 <= a.low <= a.high <= 1 for a in verdict.arms)
    few = {name: np.zeros((1, 30)) for name in ("selected", "random", "longest", "before")}
    few["selected"][0, :4] = 1.0
    found = judge(few, metric="exact_match", reference=None).comparisons[0]
    assert found.p_better == pytest.approx(1 / 16)  # four wins of four, by the exact test


def test_an_interval_and_the_test_that_counts_never_contradict_each_other() -> None:
    for sign in (1.0, -1.0):
        arms = {name: np.zeros((3, 60)) for name in ("selected", "random", "longest", "before")}
        arms["selected" if sign > 0 else "random"][:, :4] = 1.0
        found = judge(arms, metric="exact_match", reference=None).comparisons[0]
        assert sorted((found.p_better, found.p_worse)) == pytest.approx([1 / 16, 1.0])
        assert found.effect == pytest.approx(sign * 4 / 60)
        assert found.low <= 0 <= found.high


@pytest.mark.parametrize("values", [(0.0, -1.0), (2.0, 5.0), (0.0, 0.5)])
def test_the_exact_test_does_not_ask_how_right_and_wrong_are_written(
    values: tuple[float, float],
) -> None:
    wrong, right = sorted(values)
    arms = {name: np.full((1, 60), wrong) for name in ("selected", "random", "longest", "before")}
    arms["selected"][0, :2] = right
    found = judge(arms, metric="error", reference=None).comparisons[0]
    assert found.p_better == pytest.approx(1 / 4)  # two wins of two


def test_graded_scores_that_rarely_differ_must_pass_the_exact_test_too() -> None:
    base = np.random.default_rng(0).normal(size=60)
    arms = {name: base[None].copy() for name in ("selected", "random", "longest", "before")}
    arms["selected"][0, :3] += [0.4, 0.5, 0.6]
    assert judge(arms, reference=None).comparisons[0].p_better == pytest.approx(1 / 8)
    # one cluster is one win, however many items it holds
    clustered = judge(arms, [i // 3 for i in range(60)], reference=None).comparisons[0]
    assert clustered.p_better == pytest.approx(1 / 2)


def test_two_values_of_which_most_differ_must_pass_the_exact_test_too() -> None:
    arms = {name: np.zeros((1, 30)) for name in ("selected", "random", "longest", "before")}
    arms["selected"][0, :16] = 1.0
    arms["random"][0, 16:24] = 1.0
    found = judge(arms, metric="exact_match", reference=None).comparisons[0]
    assert found.p_better >= 0.0757  # 16 wins of 24


def test_the_interval_of_an_arm_is_that_of_students_t_where_clusters_are_few() -> None:
    arms = scores(GAINS, seeds=1, items=60)
    groups = np.arange(60) // 20
    tested = judge(arms, groups.tolist(), resamples=20_000).arms[0]
    error = error_of_items(arms["selected"][0], groups)
    assert tested.high - tested.low == pytest.approx(2 * 2.92 * error, rel=0.05)


def test_the_interval_of_an_arm_counts_the_luck_of_answers_once() -> None:
    arms = scores(GAINS, seeds=5, items=200, spread=2.0, training=0.0)
    tested = judge(arms, resamples=5000).arms[0]
    base = np.sqrt(
        1 / 200 + 4 / 1000
    )  # items and answers; the seeds' part has 4 degrees of freedom
    assert tested.high - tested.low == pytest.approx(2 * 1.8 * base, rel=0.15)


def test_the_order_of_results_changes_nothing_and_the_seed_of_the_run_does() -> None:
    frame = results_frame(scores(GAINS), np.arange(60) // 3)
    gate = paired(resamples=500)
    first = gate(frame, Context(seed=1))
    for seed in range(3):
        assert gate(frame.sample(fraction=1, shuffle=True, seed=seed), Context(seed=1)) == first
    assert gate(frame, Context(seed=2)).comparisons != first.comparisons


def test_a_verdict_is_plain_finite_data() -> None:
    text = json.dumps(judge(scores(GAINS, seeds=2, items=12)).as_json(), allow_nan=False)
    assert json.loads(text)["decision"] in ("accept", "hold", "roll_back")


def test_identical_arms_are_held_without_advice() -> None:
    same = scores({"selected": 0.0})["selected"]
    verdict = judge({"selected": same, "random": same, "longest": same, "before": same[:1] - 1})
    assert verdict.decision == "hold"
    assert "random selection of the same size (NLL the same, 90% interval 0.0 to 0.0" in (
        verdict.sentence
    )
    assert verdict.sentence.endswith(").")


def claim(decision: Decision = "hold", **figures: float) -> Claim:
    """A claim about the random control with these figures."""
    base = {
        "effect": 0.012, "low": -0.02, "high": 0.044, "p_better": 0.2, "p_worse": 0.8,
        "sd_items": 0.018, "sd_seeds": 0.003,
    }  # fmt: skip
    f = {**base, **figures}
    found = Comparison(
        "random", "control", f["effect"], f["low"], f["high"], f["p_better"], f["p_worse"],
        120, 120, 3, f["sd_items"], f["sd_seeds"],
    )  # fmt: skip
    return Claim(decision, (Pair(found, 0.0, 120, 3, 3),), Words.of("nll", False), 0.05)


def test_a_held_verdict_reads_as_a_person_would_say_it() -> None:
    assert sentence(claim()) == (
        "Hold: the selection is not shown to beat a random selection of the same size (NLL better "
        "by 0.012 a token, 90% interval -0.020 to 0.044; 3 seeds × 120 items). About 5 seeds an "
        "arm and 2,600 items would be needed to see a gain of this size."
    )

    def advice(sd_items: float, sd_seeds: float) -> str:
        return sentence(claim(sd_items=sd_items, sd_seeds=sd_seeds)).split("items). ")[1]

    assert advice(0.018, 0.001) == ("About 2,000 items would be needed to see a gain of this size.")
    assert advice(0.004, 0.006) == (
        "About 17 seeds an arm would be needed to see a gain of this size."
    )
    assert advice(0.0047, 0.0023) == (
        "About 270 items or 15 seeds an arm would be needed to see a gain of this size."
    )
    assert advice(0.02, 0.02) == (
        "No practical number of items or seeds would show a gain this small."
    )
    worse = sentence(claim(effect=-0.012, low=-0.044, high=0.02, p_better=0.8))
    assert worse == (
        "Hold: the selection is not shown to beat a random selection of the same size (NLL worse "
        "by 0.012 a token, 90% interval -0.020 to 0.044; 3 seeds × 120 items)."
    )


def test_advice_is_for_the_rival_that_is_hardest_to_beat() -> None:
    easy, hard = claim(sd_seeds=0.001).pairs[0], claim(effect=0.008, sd_seeds=0.001).pairs[0]
    hard = replace(hard, comparison=replace(hard.comparison, against="longest", p_better=0.3))
    told = sentence(replace(claim(), pairs=(easy, hard)))
    assert " or the longest rows of the same size (NLL better by 0.008 a token" in told
    assert told.endswith("to see a gain of this size over the longest rows of the same size.")


def test_more_seeds_an_arm_also_lessen_the_luck_of_a_rival_that_was_trained_once() -> None:
    s = 0.01  # of one student; a rival trained once brings its own
    often = claim(sd_items=0.001, sd_seeds=s * np.sqrt(2 / 3))
    once = claim(sd_items=0.001, sd_seeds=s * np.sqrt(1 / 3 + 1))
    once = replace(once, pairs=(replace(once.pairs[0], other_seeds=1),))
    control = replace(once.pairs[0].comparison, against="longest")
    once = replace(once, pairs=(replace(once.pairs[0], comparison=control),))
    wanted = sentence(often).split("About ")[1]
    assert wanted == "11 seeds an arm would be needed to see a gain of this size."
    assert sentence(once).split("About ")[1] == wanted


def test_a_difference_shows_two_digits_of_its_uncertainty() -> None:
    def told(effect: float, low: float, high: float, words: Words, alpha: float = 0.05) -> str:
        found = claim(effect=effect, low=low, high=high).pairs[0].comparison
        return difference(found, words, alpha)

    nll, points = Words.of("nll", False), Words.of("exact_match", True)
    assert told(-0.5, -0.6, -0.4, nll) == "NLL worse by 0.50 a token, 90% interval 0.40 to 0.60"
    assert told(0.032, -0.01, 0.074, points) == (
        "exact match better by 3.2 points, 90% interval -1.0 to 7.4"
    )
    assert told(12.0, -130.0, 155.0, Words.of("reward", False), 0.025) == (
        "reward better by 12, 95% interval -130 to 155"
    )


def test_results_that_cannot_be_compared_are_refused_with_what_is_wrong() -> None:
    frame = results_frame(scores(GAINS))
    gate = paired(resamples=200)
    with pytest.raises(DataError, match=r"no arm 'longest'"):
        gate(frame.filter(pl.col("arm") != "longest"), Context())
    with pytest.raises(DataError, match=r"no arm 'before'"):
        gate(frame.filter(pl.col("arm") != "before"), Context())
    with pytest.raises(DataError, match="no column 'source'"):
        gate(frame.drop("source"), Context())
    with pytest.raises(DataError, match=r"arm 'random', seed 0, item 'set:00000' is there twice"):
        gate(pl.concat([frame, frame.filter(pl.col("arm") == "random")[:1]]), Context())
    with pytest.raises(DataError, match="does not name its arm"):
        gate(frame.with_columns(pl.lit(None, pl.Int64).alias("seed")), Context())
    empty = scores(GAINS)
    empty["random"][:, 1:] = np.nan
    with pytest.raises(DataError, match="1 of 60 items are scored in both"):
        gate(results_frame(empty), Context())
    with pytest.raises(DataError, match=r"no arm 'selected'"):
        gate(frame.clear(), Context())


def test_a_gate_that_could_never_accept_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(RecipeError, match="no claim without a control"):
        paired(controls=())
    with pytest.raises(RecipeError, match=r"100 resamples cannot show p <= 0\.001"):
        paired(resamples=100, alpha=0.001)
    with pytest.raises(RecipeError, match="alpha"):
        registry.get("gate", "paired").bind({"alpha": 0.6})
