"""Both IFD passes over instruction rows: ours beside the published loop, and beside the roof.

    python benchmarks/likelihood.py [rows.jsonl] [--rows 200] [--reference-rows 16] [--threads 2] [--quick]

The alternative is the loop of the published scripts: fp32, one text at a time, two passes a row with
logits of every position, one softmax a token in Python. It runs on the first rows only and counts a
row; ours runs on all rows. `rows.jsonl` holds `instruction`, `input` and `output` (Alpaca); without
it, rows of like lengths are made up.

The roof is the best rate of a matrix product in the shapes of the model's layers, measured in the
same run. Work is counted as two operations for each weight of the body and each token that must be
read (prompts shared by many rows once, equal texts once, no padding), plus two for each weight of
the head and each token that is scored. Attention, norms and softmax are not counted as work.
Prints rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from plain import pytorch_products
from treadle.context import Context
from treadle.data.row import Message, Row, from_frame, to_frame
from treadle.data.template import Tokens, tokenise
from treadle.measure.token_logprobs import token_logprobs
from treadle.models import batching, load, local
from treadle.models.linear import product
from treadle.models.protocol import Scorable

TEXT = """\
the river town water year people work house answer question small large first write list number word
line because when there which should could about after before describe"""


def read_rows(path: Path, count: int) -> list[Row]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        question = "\n\n".join(filter(None, [record["instruction"], record.get("input")]))
        if record["output"].strip():
            rows.append(chat(question, record["output"]))
    return rows[:count]


def made_up_rows(count: int) -> list[Row]:
    rng = np.random.default_rng(0)

    def words(mean: float) -> str:
        return " ".join(rng.choice(TEXT.split(), 3 + int(rng.lognormal(np.log(mean), 0.7))))

    return [chat(words(14), words(42)) for _ in range(count)]


def chat(question: str, answer: str) -> Row:
    return Row("chat", (Message("user", question), Message("assistant", answer, trains=True)))


def best_of(tries: int, run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def published_loop(student: local.LocalStudent, rows: list[Tokens]) -> None:
    """Two passes a row, one softmax a token in Python."""
    for row in rows:
        for ids, first in (
            (row.ids, row.reply_from),
            (np.concatenate([row.header, row.reply]), len(row.header)),
        ):
            tokens = torch.from_numpy(ids.astype(np.int64))[None]
            with torch.no_grad():
                logits = student.model(input_ids=tokens, output_hidden_states=True).logits[0]
            losses = []
            for position in range(first, len(ids)):
                chances = torch.log_softmax(logits[position - 1], dim=-1)
                losses.append(-chances[tokens[0, position]].item())
            np.mean(losses)


def roof(precision: str) -> float:
    """Best measured rate of a matrix product in the model's shapes, in operations a second."""
    rates = []
    for m, k, n in ((1024, 1536, 576), (1024, 576, 1536), (1024, 576, 576), (512, 576, 49152)):
        a = torch.randn(m, k).to(local.DTYPES[precision])
        b = torch.randn(n, k).to(local.DTYPES[precision])
        run = lambda a=a, b=b: product(a, b)  # noqa: E731
        run()
        rates.append(2 * m * k * n / best_of(12, run))
    return max(rates)


def work(student: local.LocalStudent, rows: list[Tokens]) -> float:
    """Operations that cannot be spared, as counted above."""
    sequences = [Scorable(row.ids, row.trains) for row in rows]
    for row in rows:
        ids = np.concatenate([row.header, row.reply]).astype(np.int32)
        sequences.append(Scorable(ids, np.arange(len(ids)) >= len(row.header)))
    distinct, _ = batching.unique(sequences)
    plan = batching.plan(distinct, budget=local.BUDGET["cpu"], shares=True)
    prefixes = {distinct[b.members[0]].ids[: b.shared].tobytes(): b.shared for b in plan}
    read = sum(len(distinct[i].ids) - b.shared for b in plan for i in b.members)
    scored = sum(int(s.wanted[1:].sum()) for s in distinct)
    head = student.model.get_output_embeddings().weight.numel()
    table = student.model.get_input_embeddings().weight.numel()
    every = sum(p.numel() for p in student.model.parameters())
    is_tied = student.model.config.tie_word_embeddings
    body = every - table - (0 if is_tied else head)
    return 2.0 * body * (read + sum(prefixes.values())) + 2.0 * head * scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--reference-rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument(
        "--quick", action="store_true", help="24 rows, 4 of them for the loop, one try"
    )
    options = parser.parse_args()
    if options.quick:
        options.rows, options.reference_rows, options.tries = 24, 4, 1
    torch.set_num_threads(options.threads)
    rows = read_rows(options.path, options.rows) if options.path else made_up_rows(options.rows)
    frame = to_frame(rows)
    usual = load("embedded").precision
    seconds: dict[str, float] = {}
    print("| figure | ours | alternative | ratio |\n|---|---|---|---|")
    for precision in (usual, *(p for p in ("fp32", "bf16") if p != usual)):
        student = load("embedded", precision=precision)
        tokens = tokenise(from_frame(frame), student.tokenizer, max_tokens=1024)
        run = token_logprobs()
        context = Context(models={"student": student})
        run(frame[:4], context)
        seconds[precision] = best_of(options.tries, lambda r=run, c=context: r(frame, c)) / len(
            rows
        )
        if precision == usual:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"| peak memory, {precision}, GiB | {peak:.2f} | limit 3 | – |")
        rate = work(student, tokens) / len(rows) / seconds[precision]
        top = roof(precision)
        print(
            f"| {precision}, GFLOP/s | {rate / 1e9:.0f} | {top / 1e9:.0f} (roof) | {rate / top:.2f} |"
        )
    student = load("embedded", precision="fp32")
    subset = tokens[:: max(1, len(tokens) // options.reference_rows)][: options.reference_rows]
    with pytorch_products():
        published_loop(student, subset[:1])
        loop = best_of(options.tries, lambda: published_loop(student, subset)) / len(subset)
    share = sum(len(t.ids) for t in subset) / len(subset) / np.mean([len(t.ids) for t in tokens])
    print(f"| tokens a row, reference rows against all | {share:.2f} | 1 | – |")
    for precision, own in seconds.items():
        which = " (default here)" if precision == usual else ""
        print(
            f"| s a row, {precision}{which} | {own:.3f} | {loop:.3f} (loop, fp32) | {loop / own:.1f}x |"
        )


if __name__ == "__main__":
    main()
