"""The call path to an endpoint: each fault handled, nothing paid twice, no limit passed, no key written."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydantic
import pytest

from treadle.errors import BudgetError, ModelError, RecipeError
from treadle.machinery.calls import CallBook, Limits
from treadle.models.endpoint import Address, Answer, Chat, Completion, Embedding, Endpoint, Failure
from treadle.models.endpoint.fault_server import ALWAYS, HARMLESS, KINDS, PAID, FaultServer

QUICK: dict[str, Any] = {"backoff_s": 0.01, "longest_wait_s": 0.05, "deadline_s": 1.0}


class Grade(pydantic.BaseModel):
    score: int = pydantic.Field(ge=1, le=5)
    why: str


@pytest.fixture
def book(tmp_path: Path) -> Iterator[CallBook]:
    book = CallBook(tmp_path / "calls.sqlite")
    yield book
    book.close()


def opened(book: CallBook, url: str, *, limits: Limits | None = None, **options: Any) -> Endpoint:
    return Endpoint(Address(url, "m", **{**QUICK, **options}), book.session("test", limits))


def questions(count: int, **options: Any) -> list[Chat]:
    return [Chat.of(f"question {i}", max_tokens=50, **options) for i in range(count)]


def test_answers_come_in_the_order_of_the_calls_and_a_second_time_from_the_book(
    book: CallBook, tmp_path: Path
) -> None:
    calls = [Chat.of(f"REPLY:{i}", max_tokens=9) for i in range(40)]
    with FaultServer(tmp_path) as server, opened(book, server.url) as endpoint:
        first = endpoint.ask(calls)
        second = endpoint.ask(calls)
        assert sum(server.payments().values()) == 40
    assert [a.text for a in first if isinstance(a, Answer)] == [str(i) for i in range(40)]
    assert not any(a.is_from_book for a in first if isinstance(a, Answer))
    assert all(a.is_from_book for a in second if isinstance(a, Answer))
    assert [a.text for a in second if isinstance(a, Answer)] == [str(i) for i in range(40)]


def test_samples_of_one_question_are_different_requests(book: CallBook, tmp_path: Path) -> None:
    calls = [Chat.of("?", max_tokens=9, temperature=1.0, sample=i) for i in range(5)]
    with FaultServer(tmp_path) as server, opened(book, server.url) as endpoint:
        answers = endpoint.ask(calls)
    assert len({a.text for a in answers if isinstance(a, Answer)}) == 5


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(PAID) - {"redirect"}))
def test_a_fault_that_costs_nothing_is_tried_again(
    kind: str, book: CallBook, tmp_path: Path
) -> None:
    with (
        FaultServer(tmp_path, plan=(kind, kind)) as server,
        opened(book, server.url, deadline_s=0.5) as endpoint,
    ):
        (answer,) = endpoint.ask(questions(1))
    assert isinstance(answer, Answer)
    assert answer.tries == 3


@pytest.mark.parametrize("kind", sorted({*PAID, "cut_body"} - set(HARMLESS)))
def test_a_paid_reply_that_cannot_be_used_is_asked_for_once_more(
    kind: str, book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, plan=(kind,)) as server, opened(book, server.url) as endpoint:
        (answer,) = endpoint.ask(questions(1, schema=Grade))
        assert max(server.payments().values()) <= 2
        assert sum(server.payments().values()) <= 2
    assert isinstance(answer, Answer)
    assert isinstance(answer.value, Grade)


@pytest.mark.parametrize(
    "kind", ["truncated_json", "html", "wrong_schema", "null_content", "length"]
)
def test_what_stays_unusable_ends_in_a_failure_with_its_raw_reply_after_two_payments(
    kind: str, book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, share=1.0, kinds=(kind,)) as server:
        with opened(book, server.url) as endpoint:
            (failure,) = endpoint.ask(questions(1, schema=Grade))
        assert sum(server.payments().values()) == 2
        with opened(book, server.url) as endpoint:  # the same again: from the book, nothing is sent
            assert endpoint.ask(questions(1, schema=Grade)) == [failure]
        assert sum(server.payments().values()) == 2
    assert isinstance(failure, Failure)
    assert failure.reason == ("wrong_schema" if kind in ("wrong_schema", "length") else "malformed")
    assert failure.raw is not None


def test_a_reply_in_prose_around_one_fenced_object_is_read(book: CallBook, tmp_path: Path) -> None:
    with (
        FaultServer(tmp_path, plan=("prose_around_json",)) as server,
        opened(book, server.url) as endpoint,
    ):
        (answer,) = endpoint.ask(questions(1, schema=Grade))
    assert isinstance(answer, Answer)
    assert answer.tries == 1
    assert isinstance(answer.value, Grade)


@pytest.mark.parametrize("kind", ["400", "redirect", "content_filter"])
def test_what_concerns_one_request_is_that_requests_failure(
    kind: str, book: CallBook, tmp_path: Path
) -> None:
    with (
        FaultServer(tmp_path, share=1.0, kinds=(kind,)) as server,
        opened(book, server.url, tries=3) as endpoint,
    ):
        (failure,) = endpoint.ask(questions(1))
    assert isinstance(failure, Failure)
    reason = {"400": "refused", "redirect": "no_answer", "content_filter": "filtered"}
    assert failure.reason == reason[kind]


@pytest.mark.parametrize("status", sorted(set(ALWAYS) - {"400", "content_filter"}))
def test_what_concerns_every_request_stops_and_says_why(
    status: str, book: CallBook, tmp_path: Path
) -> None:
    with (
        FaultServer(tmp_path, share=1.0, kinds=(status,)) as server,
        opened(book, server.url) as endpoint,
        pytest.raises(ModelError, match=rf"answers {status}: .*model 'm'"),
    ):
        endpoint.ask(questions(20))


def test_an_endpoint_that_is_not_there_is_named(book: CallBook) -> None:
    with (
        opened(book, "http://127.0.0.1:9/v1", tries=2) as endpoint,
        pytest.raises(ModelError, match=r"127\.0\.0\.1:9/v1 cannot be reached"),
    ):
        endpoint.ask(questions(3))
    assert book.spent("test").nano_usd == 0
    assert book.spent("test").tokens == 0


def test_an_outage_stops_within_its_deadline_and_a_later_run_pays_only_for_the_rest(
    book: CallBook, tmp_path: Path
) -> None:
    calls = questions(30)
    with FaultServer(tmp_path) as server:
        port = server.port
        with opened(book, server.url) as endpoint:
            endpoint.ask(calls[:10])
    with (
        FaultServer(tmp_path, share=1.0, kinds=("500",), port=port) as server,
        opened(book, server.url, give_up_after_s=0.3, tries=1_000) as endpoint,
        pytest.raises(ModelError, match=r"has not answered for 0\.3 s .* run the same command"),
    ):
        endpoint.ask(calls)
    with FaultServer(tmp_path, port=port) as server:
        with opened(book, server.url) as endpoint:
            answers = endpoint.ask(calls)
        assert max(server.payments().values()) == 1
        assert sum(server.payments().values()) == 30
    assert all(isinstance(answer, Answer) for answer in answers)


def test_sixty_four_callers_pay_once_for_each_distinct_request(
    book: CallBook, tmp_path: Path
) -> None:
    barrier = threading.Barrier(64)
    calls = [Chat.of(f"question {i % 300}", max_tokens=20) for i in range(1_000)]

    with (
        FaultServer(tmp_path, latency_s=0.01) as server,
        opened(book, server.url, concurrency=64) as endpoint,
    ):

        def caller(number: int) -> list[Answer | Failure]:
            barrier.wait()
            return [endpoint.ask([call])[0] for call in calls[number::64]]

        with ThreadPoolExecutor(64) as pool:
            answers = [answer for found in pool.map(caller, range(64)) for answer in found]
        payments = server.payments()
    assert len(answers) == 1_000
    assert all(isinstance(answer, Answer) for answer in answers)
    assert sum(payments.values()) == 300
    assert len(payments) == 300


def test_who_waits_for_anothers_request_gets_its_answer_when_the_other_gives_up(
    book: CallBook, tmp_path: Path
) -> None:
    call = Chat.of("REPLY:yes", max_tokens=5)
    sent = threading.Event()

    def give_up() -> None:
        if sent.is_set():
            raise BudgetError("out of time")

    def first(endpoint: Endpoint) -> None:
        with pytest.raises(BudgetError, match="out of time"):
            endpoint.ask([call], tick=give_up)

    with (
        FaultServer(tmp_path, latency_s=0.6) as server,
        opened(book, server.url, deadline_s=5.0) as endpoint,
        ThreadPoolExecutor(2) as pool,
    ):
        one = pool.submit(first, endpoint)
        while not server.requests() and book.spent("test").requests == 0:
            time.sleep(0.01)
        other = pool.submit(endpoint.ask, [call])
        time.sleep(0.2)
        sent.set()
        one.result()
        (answer,) = other.result()
    assert isinstance(answer, Answer)
    assert answer.text == "yes"


def test_a_budget_of_requests_stops_cleanly_and_a_larger_one_goes_on(
    book: CallBook, tmp_path: Path
) -> None:
    calls = questions(50)
    with FaultServer(tmp_path) as server:
        with (
            opened(book, server.url, limits=Limits(requests=20)) as endpoint,
            pytest.raises(BudgetError, match=r"raise budget\.requests"),
        ):
            endpoint.ask(calls)
        assert sum(server.payments().values()) == 20
        with opened(book, server.url, limits=Limits(requests=50)) as endpoint:
            endpoint.ask(calls)
        assert sum(server.payments().values()) == 50


def test_money_is_reserved_at_the_worst_case_and_settled_at_the_bill(
    book: CallBook, tmp_path: Path
) -> None:
    price = {"prompt": 1.0, "reply": 2.0}
    call = Chat.of("hello", max_tokens=1_000)
    worst = (call.most_prompt_tokens * 1_000 + 1_000 * 2_000) / 1e9
    with FaultServer(tmp_path) as server:
        short = Limits(usd=worst - 1e-9)
        with (
            opened(book, server.url, limits=short, price=price) as endpoint,
            pytest.raises(BudgetError, match="dollars"),
        ):
            endpoint.ask([call])
        with opened(book, server.url, limits=Limits(usd=worst), price=price) as endpoint:
            (answer,) = endpoint.ask([call])
            assert isinstance(answer, Answer)
            bill = answer.prompt_tokens * 1_000 + answer.reply_tokens * 2_000
            assert endpoint.session.spent.nano_usd == bill
            assert book.spent("test").nano_usd == bill


@pytest.mark.parametrize(
    "kind", ["nan_usage", "negative_usage", "huge_usage", "text_usage", "missing_usage"]
)
def test_a_bill_that_is_not_credible_counts_at_the_worst_case(
    kind: str, book: CallBook, tmp_path: Path
) -> None:
    call = Chat.of("hello", max_tokens=100)
    with FaultServer(tmp_path, plan=(kind,)) as server, opened(book, server.url) as endpoint:
        (answer,) = endpoint.ask([call])
    assert isinstance(answer, Answer)
    assert book.spent("test").tokens == call.most_prompt_tokens + 100


def test_the_key_is_sent_and_never_written(
    book: CallBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-planted-3f9c1a7e5b"
    monkeypatch.setenv("TREADLE_TEST_KEY", secret)
    with (
        FaultServer(tmp_path, plan=("500", "429_absent")) as server,
        opened(book, server.url, key_env="TREADLE_TEST_KEY") as endpoint,
    ):
        endpoint.ask([Chat.of(f"REPLY:{secret}", max_tokens=30)])
    with (
        FaultServer(tmp_path, share=1.0, kinds=("401",)) as server,
        opened(book, server.url, key_env="TREADLE_TEST_KEY") as endpoint,
    ):
        with pytest.raises(ModelError) as caught:
            endpoint.ask(questions(1))
        assert secret not in str(caught.value)
        assert "[key]" in str(caught.value)
    book.close()
    kept = [path.read_bytes() for path in tmp_path.iterdir() if "calls" in path.name]
    body = b"REPLY:" + secret.encode()  # the question itself held it: that is the user's own text
    assert all(blob.replace(body, b"").count(secret.encode()) == 0 for blob in kept)


def test_anthropic_messages_completions_and_embeddings_are_read(
    book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path) as server:
        with opened(book, server.url, wire="anthropic") as endpoint:
            system = Chat.of("REPLY:yes", max_tokens=5, system="Be short.")
            graded = Chat.of("grade", max_tokens=50, schema=Grade)
            said, grade = endpoint.ask([system, graded])
            with pytest.raises(ValueError, match="no log-probabilities"):
                endpoint.ask([Chat.of("?", max_tokens=1, logprobs=3)])
        with opened(book, server.url) as endpoint:
            text, vectors, spoken = endpoint.ask(
                [
                    Completion("REPLY:go on", max_tokens=5),
                    Embedding(("one", "two", "three")),
                    Chat.of("REPLY:x", max_tokens=1, logprobs=3),
                ]
            )
    assert isinstance(said, Answer)
    assert said.text == "yes"
    assert isinstance(grade, Answer)
    assert isinstance(grade.value, Grade)
    assert isinstance(text, Answer)
    assert text.text == "go on"
    assert isinstance(vectors, Answer)
    assert [len(v) for v in vectors.value] == [8, 8, 8]
    assert isinstance(spoken, Answer)
    assert spoken.logprobs == (("x", -0.1, {}),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8080"}, "no web address"),
        ({"url": "https://me:secret@host/v1"}, "more than an address"),
        ({"url": "https://host/v1?key=1"}, "more than an address"),
        ({"model": ""}, "name the model"),
        ({"headers": {"Authorization": "x"}}, "environment variable"),
        ({"concurrency": 0}, "must be above 0"),
        ({"certificate_authority": "/no/such/file"}, "no such file"),
    ],
)
def test_an_address_with_a_mistake_is_refused_before_anything_is_sent(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        Address(**{"url": "http://127.0.0.1:1/v1", "model": "m", **options})


def test_an_unknown_price_refuses_to_start_and_a_known_one_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"nobody knows what mystery at api\.example\.com costs"):
        _ = Address("https://api.example.com/v1", "mystery").token_price
    assert Address("http://localhost:1/v1", "any").token_price.of(10, 10).nano_usd == 0
    dated = Address("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18").token_price
    assert (dated.prompt, dated.reply) == (150, 600)
    own = tmp_path / "prices.yaml"
    own.write_text("api.example.com:\n  mystery: {prompt: 0.1, reply: 0.0004}\n")
    monkeypatch.setenv("TREADLE_PRICES", str(own))
    found = Address("https://api.example.com/v1", "mystery").token_price
    assert (found.prompt, found.reply) == (100, 1)


def test_a_missing_key_is_told_by_the_name_of_its_variable(book: CallBook) -> None:
    with pytest.raises(RecipeError, match="NO_SUCH_KEY is not set"):
        opened(book, "http://127.0.0.1:9/v1", key_env="NO_SUCH_KEY")


INTERRUPTED = '''
import sys, threading, time
from concurrent.futures import Future
from pathlib import Path
from treadle.machinery.calls import CallBook, Limits, Session
from treadle.models.endpoint import Address, Chat, Endpoint

class SlowDisk(Session):
    """Writes down what came after half a second."""

    def settle(self, *what):
        done = Future()
        write = super().settle
        threading.Timer(0.5, lambda: done.set_result(write(*what).result())).start()
        return done

began = time.monotonic()

def tick():
    if time.monotonic() - began > 0.5:
        raise KeyboardInterrupt

book = CallBook(Path(sys.argv[2]))
try:
    with Endpoint(Address(sys.argv[1], "m", deadline_s=60.0), SlowDisk(book, "test", Limits())) as endpoint:
        endpoint.ask([Chat.of(f"question {i}", max_tokens=9) for i in range(20)], tick=tick)
except KeyboardInterrupt:
    print(sum(line["open"] for line in book.costs()))
finally:
    book.close()
'''


def test_ctrl_c_leaves_no_try_open_and_no_noise(tmp_path: Path) -> None:
    with FaultServer(tmp_path, share=1.0, kinds=("hang",)) as server:
        words = [sys.executable, "-c", INTERRUPTED, server.url, str(tmp_path / "calls.sqlite")]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["0"]
    assert told.stderr == ""
