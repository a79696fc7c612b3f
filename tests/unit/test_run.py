"""A whole turn of the wheel on the scripted student."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import treadle
from treadle.errors import BudgetError, DataError, RecipeError, StoreError
from turns import QUICK, RECIPE, records, write_lines, write_turn


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> treadle.Run:
    folder = tmp_path_factory.mktemp("turn")
    return treadle.run(write_turn(folder), out=folder / "runs" / "first", progress=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> treadle.Run:
    folder = tmp_path_factory.mktemp("quick")
    return treadle.run(write_quick(folder), out=folder / "runs" / "first", progress=False)


def write_quick(folder: Path, old: str = "", new: str = "") -> Path:
    """Write a small turn, with a part of the recipe replaced by another."""
    return write_turn(folder, QUICK.replace(old, new), rows=40)


def tree(folder: Path) -> dict[str, bytes]:
    hashes = json.loads((folder / "manifest.json").read_bytes())
    return {name: (folder / name).read_bytes() for name in hashes}


def test_the_counts_add_up(run: treadle.Run) -> None:
    counts = run.counts
    assert counts["read"] == 125
    assert counts["quarantined"] == 2
    assert counts["merged"] == 1
    dropped, left = sum(counts["dropped"].values()), sum(counts["left"].values())
    parts = ("quarantined", "merged", "held_out", "selected")
    assert counts["read"] == sum(counts[part] for part in parts) + dropped + left
    assert counts["dropped"]["contaminated_exact"] >= 1


def test_every_row_has_one_fate_and_a_reason(run: treadle.Run) -> None:
    selected = [json.loads(line) for line in (run.path / "selected.jsonl").open()]
    dropped = [json.loads(line) for line in (run.path / "dropped.jsonl").open()]
    ids = [row["treadle_id"] for row in selected + dropped]
    assert len(ids) == len(set(ids)) == len(run.pool)
    assert all(row["treadle_reason"] for row in selected + dropped)
    assert "leaked" in {row["id"] for row in dropped}


def test_controls_have_the_tokens_of_the_tested_arm(run: treadle.Run) -> None:
    arms = json.loads((run.path / "figures.json").read_bytes())["arms"]
    tokens = arms["selected"]["tokens"]
    for name in ("random-0", "random-1", "random-2", "longest"):
        assert arms[name]["tokens"] <= tokens
        assert arms[name]["tokens"] >= 0.95 * tokens
    assert arms["full"]["rows"] == run.counts["left_after_audit"]


def test_every_arm_is_judged_on_every_item(run: treadle.Run) -> None:
    table = run.results.group_by("arm", "seed").len()
    assert set(table["len"]) == {30}
    seeds = dict(table.group_by("arm").len().iter_rows())
    assert seeds == {"before": 1, "full": 1, "selected": 3, "random": 3, "longest": 3}


def test_the_verdict_has_a_sentence_and_intervals(run: treadle.Run) -> None:
    verdict = run.verdict
    assert verdict["decision"] in {"accept", "hold", "roll_back"}
    assert verdict["sentence"].endswith(".")
    for comparison in verdict["comparisons"]:
        assert comparison["low"] <= comparison["effect"] <= comparison["high"]


def test_the_report_is_there(run: treadle.Run) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert run.verdict["sentence"].split(":")[0] in page


def test_running_again_does_no_work_and_changes_no_byte(run: treadle.Run) -> None:
    before, done = tree(run.path), [c for c in run.costs() if c["stage"].startswith("train")]
    treadle.run(run.path.parent.parent / "recipe.yaml", out=run.path, progress=False)
    assert tree(run.path) == before
    assert [c for c in run.costs() if c["stage"].startswith("train")] == done


def test_another_recipe_in_the_same_folder_is_refused_by_name(run: treadle.Run) -> None:
    recipe = run.path.parent.parent / "recipe.yaml"
    with pytest.raises(RecipeError, match=r"select\.keep .*30%.*10%"):
        treadle.run(recipe, out=run.path, overrides=["select.keep=10%"], progress=False)


def test_another_budget_is_the_same_run(run: treadle.Run) -> None:
    recipe = run.path.parent.parent / "recipe.yaml"
    treadle.run(recipe, out=run.path, overrides=["budget.minutes=50"], progress=False)


@pytest.mark.slow
def test_a_second_run_reuses_finished_work(run: treadle.Run) -> None:
    recipe = run.path.parent.parent / "recipe.yaml"
    other = run.path.parent / "second"
    found = treadle.run(recipe, out=other, overrides=["select.keep=20%"], progress=False)
    stages = {c["stage"] for c in found.costs()}
    assert "measure.token_logprobs" not in stages, "measured once, for both runs"
    assert found.counts["selected"] < run.counts["selected"]


def test_trace_tells_a_rows_story(run: treadle.Run) -> None:
    story = run.trace("leaked")
    assert story["findings"][0]["reason"] == "contaminated_exact"
    assert story["origins"][0]["file"] == "pool.jsonl"
    kept = run.trace("1-7")
    assert kept["features"][0]["ifd"] is not None
    with pytest.raises(RecipeError, match="no row with id 'nothing'"):
        run.trace("nothing")


def test_the_chosen_rows_and_the_student_can_be_used(run: treadle.Run) -> None:
    answers = treadle.try_prompt(run.path, "amber birch?", max_new_tokens=8)
    assert set(answers) == {"before", "after"}
    again = treadle.load(run.path / "selected.jsonl")
    assert len(again.pool) == run.counts["selected"]


@pytest.mark.slow
def test_the_same_recipe_elsewhere_gives_the_same_bytes(run: treadle.Run, tmp_path: Path) -> None:
    recipe = write_turn(tmp_path / "another" / "place")
    command = [sys.executable, "-c",
               "import sys, treadle; treadle.run(sys.argv[1], out=sys.argv[2], progress=False)",
               str(recipe), str(tmp_path / "out" / "x")]  # fmt: skip
    strange = {**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "123", "LANG": "C"}
    subprocess.run(command, check=True, env=strange, cwd=tmp_path)
    assert tree(tmp_path / "out" / "x") == tree(run.path)


def test_a_token_budget_stops_the_run_and_a_larger_one_goes_on(
    quick: treadle.Run, tmp_path: Path
) -> None:
    recipe = write_quick(tmp_path)
    out = tmp_path / "runs" / "x"
    half = sum(cost["tokens"] for cost in quick.costs()) // 2
    with pytest.raises(BudgetError, match="tokens"):
        treadle.run(recipe, out=out, overrides=[f"budget.tokens={half}"], progress=False)
    assert not (out / "verdict.json").exists()
    found = treadle.run(recipe, out=out, overrides=["budget.tokens=100000000"], progress=False)
    assert tree(found.path) == tree(quick.path)


def test_a_time_budget_stops_the_run_and_a_larger_one_goes_on(
    quick: treadle.Run, tmp_path: Path
) -> None:
    recipe = write_quick(tmp_path)
    out = tmp_path / "runs" / "x"
    with pytest.raises(BudgetError, match="minutes"):
        treadle.run(recipe, out=out, overrides=["budget.minutes=0.000001"], progress=False)
    found = treadle.run(recipe, out=out, overrides=["budget.minutes=60"], progress=False)
    assert tree(found.path) == tree(quick.path)


def test_held_out_rows_are_never_trained_on(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path, "heldout.jsonl", "20%")
    found = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    items = {item.split(":")[1] for item in found.results["item"].unique()}
    assert found.counts["held_out"] == len(items)
    assert not items & set(found.selection["id"])


def test_a_changed_data_file_is_noticed(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path)
    treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    write_lines(tmp_path / "pool.jsonl", records(60, seed=5))
    with pytest.raises(RecipeError, match=r"pool\.jsonl"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


def test_rows_can_be_selected_by_a_column_of_the_users(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path, "by: ifd, diverse: k_center", "by: quality")
    found = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    chosen = found.selection.filter(pl.col("arm") == "selected", pl.col("rank").is_not_null())
    quality = found.features.filter(pl.col("id").is_in(chosen["id"].to_list()))["quality"]
    assert quality.min() >= 3


def test_a_column_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path, "by: ifd, diverse: k_center", "by: qualty")
    with pytest.raises(RecipeError, match="neither a measure nor a column"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


def test_an_empty_pool_is_an_error(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path)
    (tmp_path / "pool.jsonl").write_text("")
    with pytest.raises(DataError, match=r"pool\.jsonl"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    from treadle.machinery.lock import only_writer

    recipe = write_quick(tmp_path)
    with only_writer(tmp_path / "runs" / "x"), pytest.raises(StoreError, match="another treadle"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


@pytest.mark.slow
def test_a_damaged_blob_is_noticed_and_made_again(quick: treadle.Run, tmp_path: Path) -> None:
    recipe = write_quick(tmp_path)
    out = tmp_path / "runs" / "x"
    treadle.run(recipe, out=out, progress=False)
    for path in sorted((tmp_path / "runs" / ".store" / "objects").glob("*/*"))[::3]:
        blob = bytearray(path.read_bytes())
        blob[len(blob) // 2] ^= 1
        path.write_bytes(bytes(blob))
    treadle.run(recipe, out=out, progress=False)
    assert tree(out) == tree(quick.path)


@pytest.mark.slow
def test_arms_of_equal_tokens_are_equal_in_training_wherever_rows_are_cut(tmp_path: Path) -> None:
    long = [
        {"id": f"long-{i}", "prompt": "Say it.", "completion": " ".join(f"w{i}x{j}" for j in range(300))}
        for i in range(20)
    ]  # fmt: skip
    write_turn(tmp_path)
    with (tmp_path / "pool.jsonl").open("a", encoding="utf-8") as pool:
        pool.writelines(json.dumps(row) + "\n" for row in long)
    recipe = RECIPE.replace("{method: ngram}", "{method: ngram, max_tokens: 300}")
    (tmp_path / "recipe.yaml").write_text(recipe + "budget: {tokens: 10000000}\n", encoding="utf-8")
    run = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "run", progress=False)
    figures = json.loads((run.path / "figures.json").read_bytes())
    planned, trained = figures["arms"], figures["train"]
    for name in ("random-0", "random-1", "random-2"):
        assert trained[name]["tokens"] == planned[name]["tokens"]
    for name in ("selected", "longest", "full"):
        assert trained[f"{name}-0"]["tokens"] == planned[name]["tokens"]
    assert trained["longest-0"]["tokens"] >= 0.95 * trained["selected-0"]["tokens"]
    other = RECIPE + "measure: {length: {max_tokens: 200}}\n"
    (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"length: max_tokens is 200, but training reads 4096"):
        treadle.run(tmp_path / "other.yaml", out=tmp_path / "other", progress=False)


def test_a_row_whose_reply_is_cut_off_is_in_no_arm_and_stops_nothing(tmp_path: Path) -> None:
    write_quick(tmp_path)
    with (tmp_path / "pool.jsonl").open("a", encoding="utf-8") as pool:
        row = {"id": "endless", "prompt": "word " * 2000, "completion": "never reached"}
        pool.write(json.dumps(row) + "\n")
    run = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "run", progress=False)
    dropped = [json.loads(line) for line in (run.path / "dropped.jsonl").open()]
    assert {row["treadle_reason"] for row in dropped if row["id"] == "endless"} == {"unscored"}
    full = pl.read_parquet(run.path / "selection.parquet").filter(pl.col("arm") == "full")
    assert full.height == run.counts["left_after_audit"] - 1


def test_audits_of_meaning_drop_with_a_reason_and_show_their_suspicions(tmp_path: Path) -> None:
    audits = "semantic_duplicates: 0.8, paraphrase_contamination: {suspect: 0.55}, contamination"
    recipe = write_turn(
        tmp_path, QUICK.replace("near_duplicates: 0.8, contamination", audits).replace("scripted", "scripted\nembedder: hashed"),
        rows=40,
    )  # fmt: skip
    lines = (tmp_path / "pool.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(lines[0])
    close = {**row, "id": "close", "prompt": row["prompt"].replace("number", "numbers")}
    (tmp_path / "pool.jsonl").write_text("".join([*lines, json.dumps(close) + "\n"]))
    found = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    findings = pl.read_parquet(found.path / "findings.parquet")
    doubts = pl.read_parquet(found.path / "suspicions.parquet")
    assert "semantic_duplicate" in set(findings["reason"])
    assert set(doubts["reason"]) == {"asks_like_an_item"}
    assert not set(doubts["id"]) & set(findings["id"])
    assert found.counts["dropped"] == dict(sorted(findings["reason"].value_counts().iter_rows()))
    assert "suspicions.parquet" in tree(found.path)
    (told,) = found.trace(doubts["id"][0])["suspicions"]
    assert told["reason"] == "asks_like_an_item"
    assert "asks in other words" in (found.path / "report.html").read_text(encoding="utf-8")
    measured = [c["stage"] for c in found.costs() if c["stage"].startswith("audit.measure")]
    assert sorted(set(measured)) == [
        "audit.measure.prompt_embedding", "audit.measure.reply_embedding"
    ]  # fmt: skip


def rows_done(run: treadle.Run, *stages: str) -> int:
    return sum(c["rows"] for c in run.costs() if c["stage"].startswith(stages))


@pytest.mark.slow
def test_files_lines_and_columns_are_not_part_of_cached_work(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path)
    treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    lines = (tmp_path / "pool.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "moved.jsonl").write_text("".join([lines[7], *lines]), encoding="utf-8")
    overrides = ["data.train=moved.jsonl"]
    again = treadle.run(recipe, out=tmp_path / "runs" / "y", overrides=overrides, progress=False)
    assert again.counts["merged"] == 2, "one line more, of equal content"
    assert rows_done(again, "measure", "select", "train", "evaluate") == 0


@pytest.mark.slow
def test_a_larger_sample_of_rows_measures_the_new_ones_only(tmp_path: Path) -> None:
    recipe = write_turn(tmp_path, QUICK.replace("full", "null"), rows=540)
    first = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    with (tmp_path / "pool.jsonl").open("a", encoding="utf-8") as pool:
        pool.write(json.dumps({"id": "new", "prompt": "one more?", "completion": "yes"}) + "\n")
    second = treadle.run(recipe, out=tmp_path / "runs" / "y", progress=False)
    assert 0 < rows_done(second, "measure.ifd") < 0.5 * rows_done(first, "measure.ifd")


PEEPING = """from treadle.op import measure
import polars as pl

@measure(reference="a test", cost="none")
def peeping():
    def run(batch, context):
        seen = [context.seed, context.target is not None, context.sealed is not None]
        return pl.DataFrame({"peeping": [float(sum(seen))] * batch.height})
    return run
"""

FLAKY = """\
from treadle.op import measure
import polars as pl

@measure(reference="a test", cost="none")
def flaky():
    def run(batch, context):
        import pathlib
        if pathlib.Path(FAULT).exists():
            raise OSError(24, "Too many open files")
        if any("number 7 " in turn["content"] for row in batch["messages"] for turn in row):
            raise ValueError("seven")
        return pl.DataFrame({"flaky": [1.0] * batch.height})
    return run
"""


def test_a_measure_sees_nothing_that_its_cache_does_not_know_of(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK + "measure: {peeping: {}}\nseed: 5\n", rows=40)
    write_lines(tmp_path / "dev.jsonl", records(5, seed=9))
    plugin = tmp_path / "peeping.py"
    plugin.write_text(PEEPING, encoding="utf-8")
    found = treadle.run(
        tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", plugins=[plugin], progress=False,
        overrides=["data.target=dev.jsonl"],
    )  # fmt: skip
    assert set(found.features["peeping"]) == {0.0}


def test_a_failing_row_is_told_apart_from_a_failing_machine(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK + "measure: {flaky: {}}\n", rows=40)
    plugin, fault = tmp_path / "flaky_plugin.py", tmp_path / "fault"
    plugin.write_text(FLAKY.replace("FAULT", repr(str(fault))), encoding="utf-8")
    fault.touch()
    arguments = {"out": tmp_path / "runs" / "x", "plugins": [plugin], "progress": False}
    with pytest.raises(OSError, match="Too many open files"):
        treadle.run(tmp_path / "recipe.yaml", **arguments)
    fault.unlink()
    found = treadle.run(tmp_path / "recipe.yaml", **arguments)
    counts = found.counts
    assert counts["failed"] == {"measure.flaky": 1}
    assert counts["quarantined"] == 2, "lines that are no rows"
    dropped, left = sum(counts["dropped"].values()), sum(counts["left"].values())
    parts = ("quarantined", "merged", "held_out", "selected")
    assert counts["read"] == sum(counts[p] for p in parts) + dropped + left + 1
    failed = pl.read_parquet(found.path / "failed.parquet")
    assert failed["reason"].to_list() == ["ValueError: seven"]


def test_evaluation_counts_what_it_reads_and_writes_and_that_it_looked(run: treadle.Run) -> None:
    from treadle.machinery.ledger import Ledger

    spent = {c["stage"]: c["tokens"] for c in run.costs()}
    items = treadle.load(run.path.parent.parent / "heldout.jsonl").pool
    tokens = sum(len(row.text) for row in items.rows()) * 11
    assert tokens < spent["evaluate"] < 2 * tokens
    ledger = Ledger(run.path / "ledger.sqlite")
    assert ledger.decisions("look")[0] == {"sets": {"heldout": 30}, "students": 11}
    assert len(ledger.decisions("look")) == 1, "running again looks at nothing"
    ledger.close()


def test_a_run_that_spent_nothing_can_be_corrected_in_its_folder(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path)
    held = (tmp_path / "heldout.jsonl").read_text(encoding="utf-8")
    pool = (tmp_path / "pool.jsonl").read_text(encoding="utf-8")
    (tmp_path / "heldout.jsonl").write_text(pool.split('{"prompt": "torn')[0], encoding="utf-8")
    with pytest.raises(DataError, match="the audit dropped every row"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    (tmp_path / "heldout.jsonl").write_text(held, encoding="utf-8")
    treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


def test_another_file_behind_a_pattern_is_another_run(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path, "pool.jsonl", "'part-*.jsonl'")
    (tmp_path / "pool.jsonl").rename(tmp_path / "part-1.jsonl")
    treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    write_lines(tmp_path / "part-2.jsonl", records(40, seed=8))
    with pytest.raises(RecipeError, match=r"part-2\.jsonl"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)


@pytest.mark.slow
def test_a_finished_run_that_is_run_again_and_stopped_has_lost_nothing(tmp_path: Path) -> None:
    from treadle.flywheel.progress import Silent

    class Stopped(Silent):
        def stage(self, name: str) -> None:
            if name == "measure":
                raise KeyboardInterrupt

    recipe = write_quick(tmp_path)
    out = tmp_path / "runs" / "x"
    before = tree(treadle.run(recipe, out=out, progress=False).path)
    with pytest.raises(KeyboardInterrupt):
        treadle.run(recipe, out=out, progress=Stopped())
    assert {name: (out / name).read_bytes() for name in before} == before
    assert (out / "manifest.json").exists(), "nothing was changed, so it is still finished"
    treadle.run(recipe, out=out, progress=False)
    assert tree(out) == before


def test_a_missing_cluster_column_is_said_before_training(tmp_path: Path) -> None:
    recipe = write_quick(tmp_path, "seeds: 1", "seeds: 1, cluster: nosuch")
    with pytest.raises(RecipeError, match="has no column 'nosuch'"):
        treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    assert not (tmp_path / "runs" / "x" / "verdict.json").exists()


def test_without_audits_every_row_goes_on(tmp_path: Path) -> None:
    off = "audit: {profile: false, exact_duplicates: false, contamination: false}"
    recipe = write_quick(tmp_path, "audit: {near_duplicates: 0.8, contamination: {ngram: 6}}", off)
    found = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    assert found.counts["left_after_audit"] == found.counts["rows"]


@pytest.mark.slow
def test_a_column_that_begins_like_a_measure_is_the_users(tmp_path: Path) -> None:
    for name in ("by: length_tier", "by: length_teir"):
        recipe = write_quick(tmp_path, "by: ifd, diverse: k_center", name)
        rows = [{**row, "length_tier": i % 3} for i, row in enumerate(records(60, seed=1))]
        write_lines(tmp_path / "pool.jsonl", rows)
        if name == "by: length_tier":
            found = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
            assert set(found.features["length_tier"]) == {0, 1, 2}
        else:
            with pytest.raises(RecipeError, match=r"makes no column 'length_teir', but length,"):
                treadle.run(recipe, out=tmp_path / "runs" / "y", progress=False)


STEPS = "select: [{by: length, keep: 50%}, {by: ifd, keep: 20 rows}]"


@pytest.mark.slow
def test_the_run_says_what_the_selection_prefers(tmp_path: Path) -> None:
    plain = "select: {by: ifd, diverse: k_center, keep: 30%}"
    write_turn(tmp_path, RECIPE.replace(plain, "select: {method: longest, keep: 30%}"))
    pool = tmp_path / "pool.jsonl"
    lines = pool.read_text(encoding="utf-8").splitlines(keepends=True)
    told = [line.replace('"quality": 1', '"kind": "odd"') for line in lines]
    pool.write_text("".join(told).replace('"quality": 2', '"kind": "even"'), encoding="utf-8")
    run = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    figures = json.loads((run.path / "figures.json").read_text())["shift"]
    assert figures["rows"] == run.counts["left_after_audit"]
    assert figures["kept"] == run.counts["selected"]
    lengths = {line["trait"]: line for line in figures["lines"] if line["group"] == "length"}
    assert lengths["longest fifth"]["verdict"] == "more"
    assert lengths["shortest fifth"]["verdict"] == "vanished"
    kinds = {line["trait"] for line in figures["lines"] if line["group"] == "kind"}
    assert kinds == {"(none)", "odd", "even"}
    assert "Nothing is left of:" in run.report.read_text()


@pytest.mark.slow
def test_a_costly_measure_reads_only_what_cheap_steps_let_through(tmp_path: Path) -> None:
    plain = "select: {by: ifd, diverse: k_center, keep: 30%}"
    write_turn(tmp_path, QUICK.replace(plain, STEPS))
    run = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    left = run.counts["left_after_audit"]
    features = run.features
    assert features.height == left
    assert features["ifd"].drop_nulls().len() <= left // 2 + 1
    assert features["length"].null_count() == 0
    chosen = run.selection.filter(arm="selected")
    reasons = chosen.filter(pl.col("rank").is_null())["reason"]
    first = reasons.str.starts_with("step_1_top: over_budget").sum()
    assert first == left - round(left / 2)
    assert chosen.drop_nulls("rank").height == 20
    assert chosen.height == left, "every row has its reason"
    long = features.sort("length", descending=True)[: round(left / 2)]["id"]
    assert set(chosen.drop_nulls("rank")["id"]) <= set(long)
    controls = run.selection.filter(arm="random-0")["id"]
    assert not set(controls) <= set(long), "controls are drawn from all rows"
    assert rows_done(run, "measure.ifd") < left < rows_done(run, "measure.length")
    again = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    assert again.selection.equals(run.selection)


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("select: [{by: length}, {by: ifd, keep: 10%}]", "say how much this step keeps"),
        ("select: []", "a list holds one mapping a step"),
        ("select: [{by: length, keep: 50%}, ifd]", "a list holds one mapping a step"),
        ("select: [{by: length, keep: 50%}, {by: ifdd, keep: 5%}]", "'ifdd' is neither"),
        ("select: [{by: length, keep: half}, {by: ifd}]", "'half' is not a budget"),
    ],
)
def test_a_mistake_in_a_step_is_told_at_once(tmp_path: Path, select: str, said: str) -> None:
    plain = "select: {by: ifd, diverse: k_center, keep: 30%}"
    write_turn(tmp_path, RECIPE.replace(plain, select))
    with pytest.raises(RecipeError) as error:
        treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    assert said in str(error.value)
