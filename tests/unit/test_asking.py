"""A run that asks a judge behind an endpoint: licences, stamps, budgets, and what is paid for twice (nothing)."""

from __future__ import annotations

import inspect
import json
import sqlite3
from pathlib import Path

import pytest

import treadle as door
from asking import write_asking_turn
from command_line import Told, treadle, treadle_process
from treadle.errors import LicenceError, RecipeError
from treadle.flywheel.check_recipe import read_recipe
from treadle.judge.model import JudgeModel, unlicensed
from treadle.judge.pairs import Identity
from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Endpoint
from treadle.models.endpoint.fault_server import FaultServer
from turns import write_turn


def run(folder: Path, *words: str, command: str = "run") -> Told:
    return treadle_process(
        command, "recipe.yaml", "--plugin", "plugin.py", "--json", *words, cwd=folder
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("judge: {urll: 'http://a/v1', model: m}", "judge: unknown key 'urll'. Did you mean 'url'"),
        ("judge: {model: m}", "judge.url is missing"),
        ("judge: {url: 'http://127.0.0.1/v1'}", "judge.model is missing"),
        ("judge: http://127.0.0.1/v1", "judge must be a mapping"),
        ("judge: {url: 'ftp://a/v1', model: m}", "judge.url: 'ftp://a/v1' is no web address"),
        ("judge: {url: 'http://u:p@a/v1', model: m}", "Keys belong in an environment variable"),
        ("judge: {url: 'http://a.example/v1', model: m}", "nobody knows what m at a.example costs"),
        (
            "teacher: {url: 'http://127.0.0.1/v1', model: m, concurrency: many}",
            "teacher.concurrency",
        ),
        ("teacher: {url: 'http://127.0.0.1/v1', model: m, tries: 0}", "tries: must be above 0"),
        (
            "judge: {url: 'http://127.0.0.1/v1', model: m, key_env: NOT_SET_7}",
            "NOT_SET_7 is not set",
        ),
        ("judge: {url: 'http://127.0.0.1/v1', model: m, headers: {X-Api-Key: k}}", "a key belongs"),
        ("judge: {url: 'http://a/v1', model: m, price: {prompt: 1}}", "give both"),
        ("budget: {usd: -1}", "budget.usd"),
        ("budget: {request: 5}", "Did you mean 'requests'"),
        ("unlicensed: true", "unknown section 'unlicensed'"),
    ],
)
def test_a_mistake_in_an_address_or_budget_is_told_with_its_line(
    tmp_path: Path, section: str, said: str
) -> None:
    path = write_turn(tmp_path, f"student: scripted\ndata: {{train: pool.jsonl}}\n{section}\n")
    with pytest.raises(RecipeError) as told:
        read_recipe(path)
    assert said in str(told.value)
    assert "recipe.yaml:3: " in str(told.value)


def test_an_address_of_a_recipe_reads_back_as_itself_and_its_key_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-do-not-write")
    text = (
        "student: scripted\ndata: {train: pool.jsonl}\nbudget: {usd: 5, requests: 10, tokens: 7}\n"
        "judge: {url: 'https://a.example/v1/', model: m, key_env: SOME_KEY, tries: 3,"
        " price: {prompt: 1, reply: 2}}\n"
    )
    recipe = read_recipe(write_turn(tmp_path, text))
    (tmp_path / "recipe.yaml").write_text(recipe.text())
    again = read_recipe(tmp_path / "recipe.yaml")
    assert again.endpoints == recipe.endpoints
    assert again.endpoints["judge"].tries == 3
    assert "sk-do-not-write" not in recipe.text()
    assert again.budget.call_limits.usd == 5
    assert again.budget.call_limits.requests == 10
    assert again.budget.call_limits.tokens == again.budget.limits.tokens == 7


def test_a_recipe_that_selects_by_a_judge_must_name_one(tmp_path: Path) -> None:
    path = write_asking_turn(tmp_path, "http://127.0.0.1:9/v1")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    done = run(tmp_path)
    assert done.returncode == 2
    assert "needs said, which asks a judge: write `judge: {url:" in done.stderr


def test_no_licence_no_run_and_the_flag_is_stamped_on_all_that_comes_of_it(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        write_asking_turn(tmp_path, server.url)
        refused = run(tmp_path)
        assert refused.returncode == 1
        assert "LicenceError" in refused.stderr
        assert f"treadle judge license --url {server.url} --model m --rubric said" in refused.stderr
        assert not server.payments()
        done = run(tmp_path, "--unlicensed")
        assert done.returncode in (0, 3), done.stderr
        paid = sum(server.payments().values())
        assert paid == 40
        assert run(tmp_path, "--unlicensed", "--out", "runs/b").returncode in (0, 3)
        assert sum(server.payments().values()) == paid, "a second run pays for nothing"
        assert run(tmp_path).returncode == 1, "what was judged without a licence stays so"
    stamp = "JUDGE WITHOUT A LICENCE"
    assert stamp in done.stderr
    (told,) = json.loads(done.stdout)["unlicensed"]
    assert told["model"] == "m"
    folder = tmp_path / "runs" / "b"
    page = (folder / "report.html").read_text()
    assert 'class="stamp"' in page
    assert page.index(stamp) < page.index("<h1")
    assert stamp in json.loads((folder / "verdict.json").read_text())["notes"][0]


def test_a_stamp_goes_when_the_flag_does(tmp_path: Path) -> None:
    """A judge that is asked with a licence leaves no stamp; here no judge is asked at all."""
    with FaultServer(tmp_path) as server:
        write_asking_turn(tmp_path, server.url)
        by_ifd = ("--set", "select={by: ifd, keep: 30%}")
        done = run(tmp_path, *by_ifd, "--unlicensed")
    assert done.returncode in (0, 3), done.stderr
    assert "unlicensed" not in json.loads(done.stdout)
    assert 'class="stamp"' not in (tmp_path / "runs/recipe/report.html").read_text()


def test_a_comparison_and_single_stages_are_stamped_too(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        path = write_asking_turn(tmp_path, server.url)
        path.write_text(
            path.read_text() + "compare: {methods: {said: {by: said}}, controls: [], keep: [30%], "
            "length_matched: false}\n"
        )
        done = run(tmp_path, "--unlicensed", command="compare")
        assert done.returncode == 0, done.stderr
        judge = ("--judge", f"{{url: '{server.url}', model: m}}")
        words = ("pool.jsonl", "-f", "said", "--plugin", "plugin.py", "--model", "scripted", *judge)
        refused = treadle_process("measure", *words, cwd=tmp_path)
        assert refused.returncode == 1
        assert "treadle judge license" in refused.stderr
        measured = treadle_process("measure", *words, "--json", "--unlicensed", cwd=tmp_path)
        chosen = treadle_process(
            "select", "pool.jsonl", "--by", "said", "--keep", "30%", "--plugin", "plugin.py",
            "--model", "scripted", *judge, "--json", "--unlicensed", cwd=tmp_path,
        )  # fmt: skip
    assert json.loads(done.stdout)["unlicensed"]
    folder = tmp_path / "runs" / "recipe-compare"
    assert json.loads((folder / "comparison.json").read_text())["unlicensed"][0]["model"] == "m"
    assert 'class="stamp"' in (folder / "report.html").read_text()
    for one in (measured, chosen):
        assert json.loads(one.stdout)["unlicensed"][0]["url"] == server.url, one.stderr
        assert "JUDGE WITHOUT A LICENCE" in one.stderr


def test_a_budget_of_requests_ends_with_4_and_a_larger_one_pays_for_the_rest(
    tmp_path: Path,
) -> None:
    with FaultServer(tmp_path) as server:
        write_asking_turn(tmp_path, server.url, more=", concurrency: 1")
        few = run(tmp_path, "--unlicensed", "--set", "budget.requests=10")
        assert few.returncode == 4
        assert "raise budget.requests and run the same command again" in few.stderr
        assert sum(server.payments().values()) == 10
        more = run(tmp_path, "--unlicensed", "--set", "budget.requests=100", "--set",
                   "judge.concurrency=4")  # fmt: skip
        assert more.returncode in (0, 3), more.stderr
        assert sum(server.payments().values()) == 40
        other = run(tmp_path, "--unlicensed", "--set", "judge.model=n")
        assert other.returncode == 2
        assert 'judge.model ("m" → "n")' in other.stderr.replace("\n", " ")


def test_money_and_single_stages_have_a_budget_too(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        write_asking_turn(tmp_path, server.url)
        judge = f"{{url: '{server.url}', model: m, price: {{prompt: 1, reply: 1}}}}"
        done = treadle_process(
            "measure", "pool.jsonl", "-f", "said", "--plugin", "plugin.py", "--model", "scripted",
            "--judge", judge, "--budget", "{usd: 0.000001}", "--unlicensed", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 4, done.stderr
        assert "raise budget.usd" in done.stderr
        assert not server.payments()


def test_the_book_lies_in_the_store_and_knows_who_paid(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        write_asking_turn(tmp_path, server.url)
        run(tmp_path, "--unlicensed")
    assert not list((tmp_path / "runs" / ".store" / "asking").glob("*")), "nobody asks any more"
    book = sqlite3.connect(tmp_path / "runs" / ".store" / "calls.sqlite")
    rows = book.execute(
        "SELECT name, COUNT(*) FROM try JOIN payer ON payer.id = try.payer"
    ).fetchall()
    book.close()
    assert rows == [("run recipe", 40)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--judge", "http://127.0.0.1/v1"), "write it as in a recipe"),
        (("--judge", "{url: 'http://127.0.0.1/v1'}"), "judge.model is missing"),
        (("--judge", "{url: 'http://127.0.0.1/v1', modell: m}"), "Did you mean 'model'"),
        (("--budget", "{dollars: 3}"), "unknown key 'dollars'"),
        (("--budget", "{usd: lots}"), "budget.usd"),
    ],
)
def test_bad_options_of_a_stage_are_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    write_turn(tmp_path)
    done = treadle(
        "measure", "pool.jsonl", "-f", "ifd", "--model", "scripted", *words, cwd=tmp_path
    )
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")


def test_leave_to_judge_without_a_licence_is_on_the_command_line_only() -> None:
    for name in door.__all__:
        one = getattr(door, name)
        if inspect.isfunction(one):
            assert "unlicensed" not in inspect.signature(one).parameters


def test_a_fingerprint_knows_who_answers_and_not_how_it_is_asked(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    prints = []
    for address in (
        Address("http://127.0.0.1:9/v1", "m"),
        Address("http://127.0.0.1:9/v1/", "m", concurrency=2, tries=1),
        Address("http://127.0.0.1:9/v1", "n"),
        Address("http://127.0.0.1:8/v1", "m"),
    ):
        with Endpoint(address, book.session("test")) as endpoint:
            prints.append(JudgeModel(endpoint, tmp_path).fingerprint)
            if len(prints) == 1:
                prints.append(JudgeModel(endpoint, tmp_path, True).fingerprint)
    book.close()
    first, lax, *rest = prints
    assert rest[0] == first
    assert len({first, lax, *rest}) == 4


def test_a_permit_ends_with_its_block(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    who = Identity("http://127.0.0.1:9/v1", "m", "score", "p", "r", "h")
    with Endpoint(Address(who.url, "m"), book.session("test")) as endpoint:
        with unlicensed() as permit:
            permit.note(endpoint)
            permit.note(endpoint)
        assert len(permit.used) == 1
        JudgeModel(endpoint, tmp_path, True).require(who, "gate")
        with pytest.raises(LicenceError, match="no licence here, and needs one to gate"):
            JudgeModel(endpoint, tmp_path).require(who, "gate")
    book.close()
