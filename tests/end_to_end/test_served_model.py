"""The embedded model behind a real endpoint: llama.cpp's server, as `treadle serve-model` starts it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

from treadle.data.row import Message
from treadle.errors import ModelError
from treadle.machinery.calls import CallBook, Limits
from treadle.models.endpoint import Address, Answer, Chat, Completion, Endpoint, Failure

pytest.importorskip("xllamacpp")
pytest.importorskip("torch")

from treadle.models import embedded, load
from treadle.models.embedded_file import gguf_path
from treadle.models.serving import Served
from treadle.models.serving.gguf_file import find

try:
    gguf_path()
except ModelError as error:
    pytest.skip(str(error), allow_module_level=True)

PROMPTS = (
    "What is the capital of France?",
    "Name a primary colour.",
    "What is 7 + 5?",
    "Write one sentence about the sea.",
    "Which animal barks?",
    "Say hello in Spanish.",
    "What do bees make?",
    "Name the largest planet.",
    "Who wrote Hamlet?",
    "Is ice hot or cold?",
)


class Grade(pydantic.BaseModel):
    score: Literal[1, 2, 3, 4, 5]


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with Served("embedded", context=512, threads=1) as server:
        yield server


@pytest.fixture
def book(tmp_path: Path) -> Iterator[CallBook]:
    book = CallBook(tmp_path / "calls.sqlite")
    yield book
    book.close()


def opened(book: CallBook, server: Served, limits: Limits | None = None, **more: Any) -> Endpoint:
    return Endpoint(Address(server.url, server.model, **more), book.session("test", limits))


def test_it_answers_chats_and_completions_with_log_probabilities(
    served: Served, book: CallBook
) -> None:
    with opened(book, served) as endpoint:
        chat, completion = endpoint.ask(
            [
                Chat.of("What is the capital of France?", max_tokens=12, logprobs=3),
                Completion("The capital of France is", 3, logprobs=2),
            ]
        )
    for answer in (chat, completion):
        assert isinstance(answer, Answer)
        assert answer.logprobs is not None
        assert len(answer.logprobs) == answer.reply_tokens
        for token, logprob, others in answer.logprobs:
            assert logprob <= 0
            assert max(others.values()) >= logprob - 1e-5
            assert len(others) >= 2
            assert isinstance(token, str)
    assert isinstance(completion, Answer)
    assert completion.text.startswith(" Paris")
    assert "".join(t for t, _, _ in completion.logprobs or ()) == completion.text


def test_samples_differ_and_the_same_sample_is_the_same(served: Served, book: CallBook) -> None:
    calls = [
        Chat.of("Write a line of a poem.", max_tokens=16, temperature=1.0, sample=i)
        for i in range(6)
    ]
    with opened(book, served) as endpoint:
        first = endpoint.ask(calls)
        again = endpoint.ask(calls)
    texts = [a.text for a in first if isinstance(a, Answer)]
    assert len(set(texts)) >= 5
    assert texts == [a.text for a in again if isinstance(a, Answer)]


def test_a_schema_is_honoured(served: Served, book: CallBook) -> None:
    calls = [Chat.of(f"Rate from 1 to 5: {p}", max_tokens=24, schema=Grade) for p in PROMPTS[:5]]
    with opened(book, served) as endpoint:
        answers = endpoint.ask(calls)
    assert all(isinstance(a, Answer) and isinstance(a.value, Grade) for a in answers), answers


def test_sixteen_callers_are_served_at_once_and_each_gets_its_own(
    served: Served, book: CallBook
) -> None:
    texts = [f"Repeat the number {n}." for n in range(16)]
    with opened(book, served, concurrency=16) as endpoint, ThreadPoolExecutor(16) as pool:
        start = threading.Barrier(16)

        def ask(text: str) -> Answer | Failure:
            start.wait()
            return endpoint.ask([Chat.of(text, max_tokens=16)])[0]

        answers = list(pool.map(ask, texts))
        assert all(isinstance(a, Answer) for a in answers)
    right = sum(str(n) in a.text for n, a in enumerate(answers) if isinstance(a, Answer))
    assert right >= 12, [a.text for a in answers if isinstance(a, Answer)]
    assert book.spent("test").requests == 16


def test_a_request_too_long_for_the_context_is_that_requests_failure(
    served: Served, book: CallBook
) -> None:
    with opened(book, served) as endpoint:
        (failure,) = endpoint.ask([Chat.of("word " * 9_000, max_tokens=5)])
    assert isinstance(failure, Failure)
    assert failure.reason == "refused"
    assert "context" in failure.detail


def test_a_server_that_dies_is_an_outage_and_a_new_one_is_asked_for_the_rest_only(
    book: CallBook,
) -> None:
    calls = [Chat.of(f"Count from {n} to {n + 40}.", max_tokens=60) for n in range(12)]
    quick = {"concurrency": 2, "backoff_s": 0.05, "longest_wait_s": 0.1, "tries": 4}
    with Served(context=512, threads=1, parallel=2) as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        done = threading.Event()

        def on_progress(progress: Any) -> None:
            if progress.done >= 3 and not done.is_set():
                done.set()
                assert server.process is not None
                server.process.send_signal(signal.SIGKILL)

        with (
            opened(book, server, **quick) as endpoint,
            pytest.raises(ModelError, match=r"cannot be reached.*Is the address right") as told,
        ):
            endpoint.ask(calls, on_progress=on_progress)
        assert told.value.retryable
    paid = sum(row["answered"] for row in book.costs())
    assert 3 <= paid < 12
    with (
        Served(context=512, threads=1, parallel=2, port=port) as again,
        opened(book, again, **quick) as endpoint,
    ):
        answers = endpoint.ask(calls)
    assert all(isinstance(a, Answer) for a in answers)
    assert sum(a.is_from_book for a in answers if isinstance(a, Answer)) == paid
    assert sum(row["answered"] for row in book.costs()) == 12
    with opened(book, again, Limits(requests=0), tries=1) as endpoint:  # nobody is there any more
        assert [a.text for a in endpoint.ask(calls) if isinstance(a, Answer)] == [
            a.text for a in answers if isinstance(a, Answer)
        ]


def test_the_server_dies_with_the_process_that_started_it() -> None:
    code = (
        "import os, time\nfrom treadle.models.serving import Served\n"
        "server = Served(context=256, threads=1, parallel=1).__enter__()\n"
        "print(server.process.pid, flush=True)\ntime.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and Path(f"/proc/{child}/cmdline").exists():
        if "serving" not in Path(f"/proc/{child}/cmdline").read_text():
            break  # a zombie, or the number is another's
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_the_command_says_its_address_serves_and_ends_with_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from treadle.cli import main; main()", "serve-model", "--port", "0",
         "--parallel", "2", "--context", "256", "--threads", "1"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert process.stdout is not None
    told = process.stdout.readline() + process.stdout.readline()
    url = told.split(" at ")[1].split(" ")[0]
    assert f"judge: {{url: {url}, model: embedded, concurrency: 2}}" in told
    process.send_signal(signal.SIGINT)
    assert "Stopped." in process.stdout.read()
    assert process.wait() == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("name", "adapter", "said"),
    [
        ("embeded", None, "cannot be served. Name `embedded`"),
        ("embedded", "nowhere", "no such folder"),
        ("nowhere.gguf", None, "cannot be served"),
    ],
)
def test_what_cannot_be_served_is_told(name: str, adapter: str | None, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        find(name, Path(adapter) if adapter else None)


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"no\.gguf: llama\.cpp cannot serve it"):
        Served(str(tmp_path / "no.gguf")).__enter__()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with random weights, large enough to change what the model says."""
    import peft
    import torch

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    student: Any = load("embedded", precision="fp32")
    config = peft.LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    tuned = peft.get_peft_model(student.model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data *= 0.7
    tuned.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_trained_student_says_what_transformers_says(
    adapter: Path, book: CallBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [[Message("user", text)] for text in PROMPTS]
    (tmp_path / embedded.FOLDER).symlink_to(embedded.folder())
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path))  # so that the student is really written
    before: Any = load("embedded", precision="fp32")
    after = before.tuned(adapter)
    expected = [reply.text for reply in after.generate(turns, max_new_tokens=8)]
    untrained = [reply.text for reply in before.generate(turns, max_new_tokens=8)]
    assert expected != untrained
    calls = [Chat(tuple(turn), 8, logprobs=2) for turn in turns]
    with Served(str(adapter), context=256, threads=1) as server, opened(book, server) as endpoint:
        said = endpoint.ask(calls)
    assert server.model.startswith("embedded+")
    texts = [a.text for a in said if isinstance(a, Answer)]
    same = sum(_first(a) == _first(b) for a, b in zip(texts, expected, strict=True))
    whole = sum(a.strip() == b.strip() for a, b in zip(texts, expected, strict=True))
    closer = sum(a.strip() == b.strip() for a, b in zip(texts, untrained, strict=True))
    print(
        f"first words equal: {same} of {len(PROMPTS)}; whole replies: {whole}; untrained: {closer}"
    )
    assert same >= 8, list(zip(texts, expected, strict=True))
    assert whole >= 5 > closer, list(zip(texts, expected, untrained, strict=True))
    # Where they part, the two candidates were near each other.
    for a, text, answer in zip(texts, expected, said, strict=True):
        if _first(a) != _first(text):
            assert isinstance(answer, Answer)
            assert answer.logprobs is not None
            best = sorted(answer.logprobs[0][2].values(), reverse=True)
            assert math.isclose(best[0], best[1], abs_tol=1.0)
    file = find(str(adapter)).file
    stamp = file.stat().st_mtime_ns
    assert find(str(adapter)).file.stat().st_mtime_ns == stamp, "the second time it is kept"


def _first(text: str) -> str:
    return (text.split() or [""])[0]
