"""The recipe that `treadle init` writes: short, commented, ready to run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import yaml

TEMPLATE = """\
# One turn of the wheel: treadle check {out}, then treadle run {out}
student: {student}            # embedded, a Hugging Face id, or a local folder
data:
  train: {train}
  evaluate: {evaluate}        # a file, several by name, or a share such as 10% to hold out
audit:
  near_duplicates: 0.8        # Jaccard similarity from which rows count as duplicates
  # semantic_duplicates: true       # the same in other words: the encoder reads every row
  # paraphrase_contamination: true  # evaluation items in other words
  contamination: {{ngram: 13}}  # rows that share 13 words with an evaluation item are dropped
select: {{by: ifd, diverse: k_center, keep: 30%}}   # or 300 rows, or 20000 tokens
train: {{method: {method}}}
gate: {{metric: nll, controls: [random, longest], reference: full, seeds: 3}}
budget: {{minutes: 60}}         # hard; raise it and run again to go on
"""


def starter_recipe(data: Path, evaluate: Path | None, student: str, out: Path) -> str:
    """Return the text of a recipe that will lie at `out`."""
    return TEMPLATE.format(
        out=shlex.quote(str(out)),
        student=_quoted(student),
        train=_quoted(_from(out, data)),
        evaluate=_quoted(_from(out, evaluate)) if evaluate is not None else "10%",
        method="ngram" if student == "scripted" else "sft, lora: 8, epochs: 1",
    )


def _from(out: Path, path: Path) -> str:
    """A path as the recipe must say it: relative to the folder that the recipe lies in."""
    if path.is_absolute() or path.parts[:1] == ("~",):
        return str(path)
    return os.path.relpath(path, out.resolve().parent)


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style=None, width=10_000).split("\n")[0].removesuffix("...")
