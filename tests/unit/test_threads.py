"""Pieces of work on several threads: all are done, errors surface, and the BLAS gets its own back."""

import signal
import threading
import time

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from treadle.geometry.threads import MOST, in_threads


def allowed() -> set[int]:
    """Return the numbers of threads that the BLAS libraries may use."""
    return {each["num_threads"] for each in ThreadpoolController().select(user_api="blas").info()}


@pytest.mark.parametrize("threads", [1, 2, MOST])
def test_as_many_threads_as_the_blas_may_use_work_at_once_and_the_blas_has_one(
    threads: int,
) -> None:
    together = threading.Barrier(threads)
    seen: set[int] = set()
    names: set[str] = set()

    def work(piece: int) -> None:
        together.wait(timeout=30)
        seen.update(allowed())
        names.add(threading.current_thread().name)

    with threadpool_limits(threads, user_api="blas"):
        in_threads(work, range(2 * threads))
        assert allowed() == {threads}
    assert seen == {1}
    assert len(names) == threads


def test_all_pieces_are_done() -> None:
    done = np.zeros(1_000, dtype=int)

    def work(piece: int) -> None:
        done[piece] += 1

    with threadpool_limits(3, user_api="blas"):
        in_threads(work, iter(range(1_000)))
        in_threads(work, [])
    assert (done == 1).all()


def test_an_error_surfaces_and_what_has_not_begun_is_left() -> None:
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 0:
            raise ValueError("piece 0 of the pool")
        time.sleep(0.01)
        done.append(piece)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="piece 0 of the pool"):
            in_threads(work, range(500))
        assert allowed() == {2}
    assert len(done) < 250


def test_an_interrupt_from_the_keyboard_ends_the_work() -> None:
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 0:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        done.append(piece)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(500))
        assert allowed() == {2}
    assert len(done) < 250


def test_a_second_call_does_its_pieces_alone_and_gives_the_blas_back() -> None:
    inner: list[set[str]] = []

    def work(piece: int) -> None:
        names: set[str] = set()
        in_threads(lambda _: names.add(threading.current_thread().name), range(4))
        inner.append(names)

    with threadpool_limits(2, user_api="blas"):
        in_threads(work, range(6))
        assert allowed() == {2}
    assert [len(names) for names in inner] == [1] * 6
