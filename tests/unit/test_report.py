"""The report: what it says is what the run folder holds, at every stage of a run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from run_folder import make_run
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, load_pool, save_pool, to_parquet
from treadle.data.row import Message, Origin, Row
from treadle.data.verdict import Decision
from treadle.errors import DataError
from treadle.report import numbers, plot, write_report
from treadle.report.audits import wilson
from treadle.report.explorer import (
    MAX_BYTES,
    MAX_CHARS,
    MAX_ROWS,
    _everything,
    _sample,
    fair_shares,
)
from treadle.report.flow import sums
from treadle.report.folder import read_run
from treadle.report.items import differences
from treadle.report.markup import Column, Safe, escape, table, tag
from treadle.report.scores import direction

SECTIONS = (
    "scores flow dropped spread training audit lint planted costs rows items recipe provenance"
)


class Text(HTMLParser):
    """Text, anchors and ids of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self._parts: list[str] = []
        self._hidden = 0
        self.feed(page)
        self.words = " ".join(" ".join(self._parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._hidden += tag in ("script", "style")
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(data)


def embedded(page: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="row-data">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "first", decision="accept")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A run folder of one's own, to damage."""
    return Path(shutil.copytree(folder, tmp_path / "first"))


# ---- the page ------------------------------------------------------------------------------------


def test_a_finished_run_has_every_section_and_every_link_leads_somewhere(page: str) -> None:
    text = Text(page)
    assert set(SECTIONS.split()) <= set(text.ids)
    assert len(text.ids) == len(set(text.ids))
    for link in text.links:
        anchor = link.removeprefix("#").split("?")[0]
        assert anchor in text.ids, link


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    assert not re.search(
        r"(?i)\b(src|srcset|poster|action|background)\s*=", page.split("<script")[0]
    )
    assert not re.search(r"(?i)https?://|@import|url\(", page)


@pytest.mark.parametrize(
    ("decision", "word", "kind"),
    [
        ("accept", "Accept", "accept"),
        ("hold", "Hold", "hold"),
        ("roll_back", "Roll back", "roll_back"),
    ],
)
def test_the_verdict_is_told_by_word_sign_and_colour(
    tmp_path: Path, decision: Decision, word: str, kind: str
) -> None:
    folder = make_run(tmp_path / "run", decision=decision, rows=80, items=40)
    page = write_report(folder).read_text(encoding="utf-8")
    assert f"<h1>{word}</h1>" in page
    assert f'class="banner {kind}"' in page
    assert f'class="icon {kind}"' in page
    verdict = json.loads((folder / "verdict.json").read_text())
    said = verdict["sentence"].removeprefix(f"{word}: ")
    assert said[1:] in Text(page).words
    assert verdict["notes"][0] in Text(page).words


def test_every_comparison_is_in_the_plot_and_in_the_table(folder: Path, page: str) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    halves = [(c["high"] - c["low"]) / 2 for c in verdict["comparisons"]]
    places = numbers.decimals(halves)
    for one in verdict["comparisons"]:
        effect = numbers.signed(one["effect"], places)
        span = numbers.interval(one["low"], one["high"], places)
        assert page.count(f"{effect} {span}") >= 1  # beside the plot
        assert f">{effect}</span></td>" in page  # in the table
        assert f">{span}</td>" in page
        assert f">{escape(numbers.probability(one['p_better']))}</td>" in page


def test_what_a_comparison_has_shown_goes_by_its_p_values(copy: Path) -> None:
    verdict = json.loads((copy / "verdict.json").read_text())
    one = verdict["comparisons"][0]
    one |= {"low": 0.02, "effect": 0.05, "high": 0.08, "p_better": 0.0625, "p_worse": 1.0}
    (copy / "verdict.json").write_text(json.dumps(verdict))
    page = write_report(copy).read_text(encoding="utf-8")
    shown = page.split("− random")[1].split("− longest")[0]
    assert "unclear" in shown
    assert "better" not in re.findall(r'class="([^"]*)"', shown)
    assert 'class="tile-value is-unclear"' in page


def test_the_intervals_of_arms_have_a_level_and_say_what_one_seed_leaves_out(page: str) -> None:
    table_of_arms = page.split("<caption>Mean nll of each arm")[1].split("</table>")[0]
    assert ">90% interval</th>" in table_of_arms
    cells = re.findall(r'<th scope="row">(\w+)</th>.*?(\[[^\]]*\][^<]*)</td>', table_of_arms)
    assert len(cells) == 5
    for arm, told in cells:
        assert told.endswith("items only") == (arm in ("full", "before"))
    assert "mean [90% interval]" in page


@pytest.mark.parametrize("decision", ["accept", "hold", "roll_back"])
def test_the_page_claims_no_action_that_nobody_performs(tmp_path: Path, decision: Decision) -> None:
    folder = make_run(tmp_path / "run", decision=decision, rows=80, items=40)
    words = Text(write_report(folder).read_text(encoding="utf-8")).words
    assert "adapter/" in words
    assert "that of the first seed" in words
    assert "takes the place" not in words
    assert "incumbent stays" not in words


def test_every_seed_of_every_arm_is_drawn(folder: Path, page: str) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    for arm in verdict["arms"]:
        for seed in range(len(arm["by_seed"])):
            assert f"<title>{arm['name']}, seed {seed}: " in page


def test_the_direction_of_a_metric_is_read_from_the_results(folder: Path) -> None:
    run = read_run(folder)
    assert direction(run.results) == "lower is better"
    assert run.results is not None
    turned = run.results.with_columns(pl.col("score").alias("value"))
    assert direction(turned) == "higher is better"


def test_an_interval_off_the_scale_becomes_an_arrow_and_does_not_squash_the_others() -> None:
    scale = plot.focus([-0.01, 0.02, 0.0], [(0.5, 0.7, 0.6)], 0, 100)
    assert scale.high < 0.1
    shapes = "".join(s.text for s in plot.whisker(scale, 0.5, 0.7, 10, "better", cap=6))
    assert "<path" in shapes
    assert plot.mark(scale, 0.6, 10, 6, "mean") is None
    assert plot.focus([-0.01, 0.02], [(0.03, 0.04)], 0, 100).high > 0.04


# ---- rows ----------------------------------------------------------------------------------------


def test_every_sum_over_the_rows_is_checked_and_holds(folder: Path, page: str) -> None:
    checks = sums(read_run(folder))
    assert len(checks) == 7
    assert all(check.holds for check in checks)
    assert "Every sum adds up" in page


def test_a_lost_row_is_shown_in_red(copy: Path) -> None:
    counts = json.loads((copy / "counts.json").read_text())
    counts["selected"] -= 1
    (copy / "counts.json").write_text(json.dumps(counts))
    page = write_report(copy).read_text(encoding="utf-8")
    assert "Sums that do not add up: 2" in page
    assert 'class="broken"' in page
    assert "Every sum adds up" not in page


def test_rows_that_a_measure_failed_on_are_neither_lost_nor_counted_twice(copy: Path) -> None:
    selection = pl.read_parquet(copy / "selection.parquet")
    gone = selection.filter((pl.col("arm") == "selected") & pl.col("rank").is_null())["id"][0]
    kept = selection.filter((pl.col("arm") != "selected") | (pl.col("id") != gone))
    (copy / "selection.parquet").write_bytes(to_parquet(kept))
    counts = json.loads((copy / "counts.json").read_text())
    reason = selection.filter((pl.col("arm") == "selected") & (pl.col("id") == gone))["reason"][0]
    counts["left"][reason] -= 1
    counts["failed"] = {"measure.ifd": 1}
    (copy / "counts.json").write_text(json.dumps(counts))
    assert all(check.holds for check in sums(read_run(copy)))
    page = write_report(copy).read_text(encoding="utf-8")
    assert "failed: measure.ifd" in page
    (row,) = (row for row in embedded(page)["rows"] if row["id"] == gone)
    assert row["status"] == "failed"


def test_what_was_expected_stands_beside_what_it_took(folder: Path, page: str) -> None:
    costs = read_run(folder).costs
    took = sum(cost.seconds for cost in costs or ())
    assert "Expected when the run began" in page
    assert "3 min 00 s to 8 min 00 s" in page
    assert f"it took {numbers.duration(took)}" in page


def test_every_row_is_embedded_once_with_its_status(folder: Path, page: str) -> None:
    data = embedded(page)
    counts = json.loads((folder / "counts.json").read_text())
    ids = [row["id"] for row in data["rows"]]
    assert len(ids) == len(set(ids)) == counts["rows"] + counts["quarantined"]
    statuses = [row["status"] for row in data["rows"]]
    assert statuses.count("selected") == counts["selected"]
    assert statuses.count("dropped") == sum(counts["dropped"].values())
    assert statuses.count("left") == sum(counts["left"].values())
    assert statuses.count("quarantined") == counts["quarantined"]


def test_a_dropped_duplicate_comes_with_the_row_that_was_kept(folder: Path, page: str) -> None:
    data = embedded(page)
    known = {row["id"] for row in data["rows"]} | set(data["partners"])
    copies = pl.read_parquet(folder / "findings.parquet").filter(reason="near_duplicate")
    assert copies.height > 10
    assert set(copies["other"]) <= known


def test_each_reason_leads_to_its_rows(page: str) -> None:
    data = embedded(page)
    there = {(row["status"], row["reason"]) for row in data["rows"]}
    links = [link for link in Text(page).links if link.startswith("#rows?")]
    assert len(links) >= 8
    for link in links:
        wanted = parse_qs(link.split("?", 1)[1])
        status, reason = wanted["status"][0], wanted.get("reason", [None])[0]
        assert any(s == status and reason in (None, r) for s, r in there), link


def test_rows_held_out_for_evaluation_are_never_embedded(copy: Path) -> None:
    text = (copy / "recipe.yaml").read_text().replace("evaluate: heldout.jsonl", "evaluate: 10%")
    (copy / "recipe.yaml").write_text(text)
    held = [key for key in load_pool(copy / "pool").ids if int(key[:8], 16) < 0.1 * 16**8]
    page = write_report(copy).read_text(encoding="utf-8")
    assert len(held) > 20
    assert not {row["id"] for row in embedded(page)["rows"]} & set(held)


def test_unscored_features_stay_unscored(folder: Path, page: str) -> None:
    data = embedded(page)
    place = data["features"].index("ifd")  # type: ignore[arg-type]
    features = pl.read_parquet(folder / "features.parquet")
    missing = set(features.filter(pl.col("ifd").is_null())["id"])
    rows = {row["id"]: row["values"] for row in data["rows"] if row.get("values")}
    assert missing
    assert all(rows[key][place] is None for key in missing)  # type: ignore[index]
    assert f">{len(missing)}</td>" in page


def test_a_measured_sample_is_not_taken_for_the_pool(copy: Path, page: str) -> None:
    assert "Measured on" not in page
    features = pl.read_parquet(copy / "features.parquet")
    (copy / "features.parquet").write_bytes(to_parquet(features.head(100)))
    words = Text(write_report(copy).read_text(encoding="utf-8")).words
    assert f"Measured on 100 of the {features.height} rows that passed the audit" in words


# ---- size ----------------------------------------------------------------------------------------


def test_huge_rows_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    rows = [
        Row("chat", (Message("user", f"{i}" + "<é" * 2_500_000), Message("assistant", "x", True)))
        for i in range(3)
    ]
    rows.append(Row("chat", tuple(Message("user", f"turn {i}") for i in range(5_000))))
    save_pool(Pool.of(rows), tmp_path / "pool")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert len(page.encode()) < 500_000
    for row in embedded(page)["rows"]:
        shown = sum(len(text) for _, text, _ in row["turns"])  # type: ignore[union-attr, attr-defined]
        assert shown <= MAX_CHARS
        assert row["cut_chars"] or row["cut_turns"]


def test_a_large_pool_gives_a_small_page_with_a_share_of_every_status(tmp_path: Path) -> None:
    text = "<&>" * 900
    rows = [
        Row(
            "chat",
            (Message("user", f"{i} {text}"), Message("assistant", text, True)),
            origins=(Origin("a.jsonl", i + 1),),
        )
        for i in range(4_000)
    ]
    pool = Pool.of(rows)
    save_pool(pool, tmp_path / "pool")
    schema = {"id": pl.String, "op": pl.String, "reason": pl.String, "other": pl.String}
    found = [
        (key, "op", "rare" if i < 5 else "common", None) for i, key in enumerate(pool.ids[:900])
    ]
    frame = pl.DataFrame(found, schema=schema, orient="row").with_columns(
        figure=pl.lit(None, pl.Float64), detail=pl.lit(None, pl.String)
    )
    (tmp_path / "findings.parquet").write_bytes(to_parquet(frame))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    shown = embedded(page)["rows"]
    assert len(page.encode()) < MAX_BYTES + 200_000
    assert len(shown) <= MAX_ROWS
    assert f"This page holds {len(shown):,} of 4,000 rows" in page
    assert embedded(page)["statuses"] == {"dropped": 900, "kept": 3_100}
    assert sum(row["reason"] == "rare" for row in shown) == 5
    assert len({row["status"] for row in shown}) == 2


def test_reasons_that_differ_by_row_do_not_crowd_out_the_others(copy: Path) -> None:
    selection = pl.read_parquet(copy / "selection.parquet")
    named = pl.format("score {}", pl.col("rank"))
    is_chosen = (pl.col("arm") == "selected") & pl.col("rank").is_not_null()
    unique = selection.with_columns(reason=pl.when(is_chosen).then(named).otherwise("reason"))
    (copy / "selection.parquet").write_bytes(to_parquet(unique))
    findings = pl.read_parquet(copy / "findings.parquet")
    odd = findings.with_columns(reason=pl.format("odd {}", pl.int_range(pl.len())))
    (copy / "findings.parquet").write_bytes(to_parquet(odd))
    counts = json.loads((copy / "counts.json").read_text())
    counts["dropped"] = dict.fromkeys(odd["reason"], 1)
    (copy / "counts.json").write_text(json.dumps(counts))
    run = read_run(copy)
    sample = _sample(_everything(run), 60)
    by_status = dict(sample.group_by("status").len().iter_rows())
    assert by_status["selected"] <= 20
    assert by_status["left"] >= 10
    text = Text(write_report(copy).read_text(encoding="utf-8"))
    assert "dropped: other reasons" in text.words
    assert "rarer reasons are in findings.parquet" in text.words
    assert "Every sum adds up" in text.words


# ---- unfinished and damaged runs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "missing"),
    [
        ("load", "Not audited yet"),
        ("audit", "Not counted yet"),
        ("select", "No arm has been trained yet"),
        ("train", "No arm has been compared yet"),
    ],
)
def test_an_unfinished_run_gives_an_honest_page(tmp_path: Path, until: str, missing: str) -> None:
    folder = make_run(tmp_path / "run", rows=80, until=until)
    text = Text(write_report(folder).read_text(encoding="utf-8"))
    assert "No verdict yet" in text.words
    assert missing in text.words
    assert "Accept" not in text.words
    assert "None" not in text.words.replace("None of this", "")
    assert "nan" not in text.words.split()


@pytest.mark.parametrize(
    "name",
    [
        "counts.json", "figures.json", "verdict.json", "findings.parquet", "features.parquet",
        "selection.parquet", "results.parquet", "items.parquet", "quarantine.jsonl",
        "ledger.sqlite", "pool/manifest.json", "pool/shard-00000.parquet",
    ],
)  # fmt: skip
def test_a_damaged_part_is_named_and_the_rest_is_shown(copy: Path, name: str) -> None:
    for leftover in copy.glob("ledger.sqlite-*"):
        leftover.unlink()
    (copy / name).write_bytes((copy / name).read_bytes()[:100] + b"\xff{")
    text = Text(write_report(copy).read_text(encoding="utf-8"))
    assert f"Could not be read and is left out here: {name.split('/')[0]}" in text.words
    assert str(copy.parent) not in text.words
    assert set(SECTIONS.split()) - {"planted"} <= set(text.ids)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("arms", "role", "rival"), ("comparisons", "role", "rival"), ("arms", "low", "0.5"),
        ("arms", "by_seed", [None, "x"]), ("comparisons", "p_better", []),
        ("comparisons", "seeds", "3"), ("", "alpha", {}), ("", "sentence", None),
        ("", "decision", "win"), ("", "arms", "none"), ("", "comparisons", [3]),
    ],
)  # fmt: skip
def test_a_verdict_of_another_shape_is_named_and_left_out(
    copy: Path, part: str, name: str, value: object
) -> None:
    verdict = json.loads((copy / "verdict.json").read_text())
    (verdict[part][0] if part else verdict)[name] = value
    (copy / "verdict.json").write_text(json.dumps(verdict))
    text = Text(write_report(copy).read_text(encoding="utf-8"))
    assert "Could not be read and is left out here: verdict.json: " in text.words
    assert f"{name} cannot be " in text.words
    assert "No verdict yet" in text.words


def test_unknown_numbers_of_a_verdict_are_shown_as_unknown(copy: Path) -> None:
    verdict = json.loads((copy / "verdict.json").read_text())
    verdict["comparisons"][0]["p_better"] = None
    verdict["arms"][0]["by_seed"][1] = None
    (copy / "verdict.json").write_text(json.dumps(verdict))
    text = Text(write_report(copy).read_text(encoding="utf-8"))
    assert "Could not be read" not in text.words
    assert "nan" not in text.words.split()


def test_any_single_part_may_be_missing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", rows=60, items=20)
    for part in sorted(folder.iterdir()):
        aside = tmp_path / "aside"
        part.rename(aside)
        page = write_report(folder).read_text(encoding="utf-8")
        assert "could not" not in page.lower(), part.name
        aside.rename(part)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no part of a run"):
        write_report(tmp_path)
    with pytest.raises(DataError, match="no part of a run"):
        write_report(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


# ---- promises ------------------------------------------------------------------------------------


def test_the_same_folder_gives_the_same_bytes_anywhere(folder: Path, tmp_path: Path) -> None:
    first = write_report(folder).read_bytes()
    again = shutil.copytree(folder, tmp_path / "elsewhere" / "first")
    code = "import sys, pathlib, treadle.report as r; r.write_report(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, env=environment)
    assert (again / "report.html").read_bytes() == first


def test_reading_a_run_changes_nothing_in_it(copy: Path) -> None:
    def files() -> dict[str, bytes]:
        names = (p for p in copy.rglob("*") if p.is_file() and p.name != "report.html")
        return {p.name: p.read_bytes() for p in names}

    before = files()
    write_report(copy)
    assert files() == before


def test_hashes_are_compared_with_the_manifest(copy: Path) -> None:
    digest = hashlib.sha256((copy / "counts.json").read_bytes()).hexdigest()
    manifest = {"counts.json": digest, "verdict.json": "0" * 64, "gone.json": "1" * 64}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    text = Text(write_report(copy).read_text(encoding="utf-8"))
    assert f"{digest} ✓ same" in text.words
    assert text.words.count("✗ differs") == 1
    assert "In the manifest but not in the folder: gone.json" in text.words


def test_differences_of_items_are_those_of_a_slow_reading(folder: Path) -> None:
    run = read_run(folder)
    paired = differences(run)
    assert paired is not None
    assert paired.against == "random"
    assert run.results is not None
    rows = run.results.rows(named=True)
    for item, difference in paired.frame.select("item", "difference").head(20).iter_rows():
        mean = {
            arm: np.mean([r["score"] for r in rows if r["item"] == item and r["arm"] == arm])
            for arm in ("selected", "random")
        }
        assert difference == pytest.approx(mean["selected"] - mean["random"], abs=1e-12)
    values = paired.frame["difference"].to_list()
    assert values == sorted(values, reverse=True)


def test_items_that_a_seed_has_no_score_for_are_left_out_as_the_gate_leaves_them_out(
    copy: Path,
) -> None:
    results = pl.read_parquet(copy / "results.parquet").sort("arm", "seed", "item")
    names = results["item"].unique().sort()[:4].to_list()
    is_unscored = (
        (pl.col("arm") == "selected") & (pl.col("seed") == 1) & (pl.col("item") == names[0])
    ) | ((pl.col("arm") == "random") & (pl.col("seed") == 2) & (pl.col("item") == names[1]))
    is_gone = (pl.col("arm") == "random") & (pl.col("seed") == 0) & (pl.col("item") == names[2])
    is_endless = (pl.col("arm") == "random") & (pl.col("item") == names[3])
    score = pl.when(is_unscored).then(None).when(is_endless).then(-np.inf).otherwise("score")
    frame = results.with_columns(score.alias("score")).filter(~is_gone)
    (copy / "results.parquet").write_bytes(to_parquet(frame))
    found = differences(read_run(copy))
    assert found is not None
    assert set(results["item"]) - set(found.frame["item"]) == set(names)
    random = registry.get("gate", "paired").bind({"resamples": 100}).make()
    counted = random(frame, Context()).comparisons[0]
    assert (counted.against, counted.items) == (found.against, found.frame.height)


def test_costs_are_those_of_the_ledger(folder: Path, page: str) -> None:
    run = read_run(folder)
    assert run.costs is not None
    total = sum(cost.seconds for cost in run.costs)
    words = Text(page).words
    tasks = sum(cost.tasks for cost in run.costs)
    assert f"all stages {tasks} " in words
    assert "train.random 3 768 61,440 2 min 05 s" in words  # three seeds on one line
    assert "audit.near_duplicates 3 600 0 3.10 s" in words  # with the stages inside it
    assert numbers.duration(total) in words
    assert "of training one student on the selected rows" in words


# ---- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.012345, "0.0123"), (1234.5, "1,234"), (1.0, "1"), (-0.5, "−0.500"), (12.345, "12.3"),
        (0.0000123, "1.23e−5"), (float("nan"), "–"), (None, "–"), (999.6, "1,000"), (0, "0"),
        (0.9996, "1.00"), (99.96, "100"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float | None, shown: str) -> None:
    assert numbers.figure(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4242, "0.424 s"), (0, "0 s"), (59.96, "60.0 s"), (61, "1 min 01 s"), (7_500, "2 h 05 min")],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert numbers.duration(seconds) == shown


def test_a_share_of_nothing_is_absent_and_a_small_share_is_not_zero() -> None:
    assert numbers.share(0, 0) == "–"
    assert numbers.share(1, 100_000) == "<0.1%"
    assert numbers.share(0, 5) == "0%"
    assert numbers.share(5, 5) == "100%"


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 200))
def test_shares_are_fair(sizes: list[int], total: int) -> None:
    shares = fair_shares(sizes, total)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    short = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not short or max(shares) - min(short) <= 1


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (5, 5), (39, 40), (1, 300)])
def test_the_interval_of_recall_is_the_wilson_interval(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-7)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    found = plot.ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert len(found) <= 7
    assert all(low - slack <= value <= low + width + slack for value in found)


@given(st.floats(-3, 3), st.floats(1e-12, 1e3))
def test_the_words_on_an_axis_tell_its_ticks_apart(start: float, width: float) -> None:
    found = plot.ticks(start * width, (start + 1) * width)
    assert len(set(plot.tick_words(found))) == len(found)


def test_ticks_of_tiny_values_are_told_in_powers_of_ten() -> None:
    found = plot.tick_words(plot.ticks(0.0, 4e-8))
    assert found == ["0", "1.00e−8", "2.00e−8", "3.00e−8", "4.00e−8"]
    assert plot.tick_words([0.0, 0.05, 0.1]) == ["0", "0.05", "0.10"]


def test_markup_escapes_text_and_refuses_what_could_run() -> None:
    assert tag("p", "<b>", title='"').text == '<p title="&quot;">&lt;b&gt;</p>'
    assert tag("p", Safe("<b>")).text == "<p><b></p>"
    assert escape("\x1b[0m\u202e") == "␛[0m⟨U+202E⟩"
    for bad in ({"onclick": "x"}, {"style": "x"}, {"src": "x"}, {"href": "javascript:x"}):
        with pytest.raises(ValueError):
            tag("a", **bad)
    with pytest.raises(ValueError):
        tag("a", **{"x onclick": "1"})


def test_a_row_with_too_few_cells_is_refused() -> None:
    with pytest.raises(ValueError):
        table("t", [Column("a"), Column("b")], [("only one",)])
