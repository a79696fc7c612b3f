"""Ten thousand calls to a server of which every fifth reply is faulty: all end, none hangs, few are paid twice."""

from pathlib import Path

import pydantic
import pytest

from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Answer, Chat, Endpoint, Failure
from treadle.models.endpoint.fault_server import KINDS, FaultServer

CALLS = 10_000
HEAVY = ("big_body", "gzip_bomb")  # 50 MB each: in the unit tests


class Grade(pydantic.BaseModel):
    score: int = pydantic.Field(ge=1, le=5)


@pytest.mark.slow
def test_every_call_ends_as_an_answer_or_a_failure_and_at_most_one_repair_is_paid(
    tmp_path: Path,
) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in HEAVY)
    assert len(kinds) >= 25
    calls = [Chat.of(f"question {i}", max_tokens=30, schema=Grade) for i in range(CALLS)]
    book = CallBook(tmp_path / "calls.sqlite")
    with FaultServer(tmp_path, share=0.2, kinds=kinds, seed=1) as server:
        address = Address(
            server.url, "m", concurrency=64, backoff_s=0.01, longest_wait_s=0.05, deadline_s=0.5
        )
        with Endpoint(address, book.session("soak")) as endpoint:
            answers = endpoint.ask(calls)
        requests, payments = server.requests(), server.payments()
    (cost,) = book.costs()
    book.close()
    assert len(answers) == CALLS
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    assert sum(isinstance(answer, Answer) for answer in answers) + len(failures) == CALLS
    # Unusable twice in a row: by chance about 10,000 * (0.2 * 16 / 38)^2.
    assert len(failures) < 0.02 * CALLS
    assert all(failure.reason in ("malformed", "wrong_schema", "no_answer") for failure in failures)
    assert sum(requests.values()) <= 1.3 * CALLS
    assert cost["tries"] >= sum(requests.values())
    assert cost["open"] == 0
    assert cost["answered"] - CALLS <= 0.2 * CALLS
    # A repair is a request of its own; a cut connection is no reply, and is sent again.
    assert sum(n > 2 for n in payments.values()) <= 0.001 * CALLS
