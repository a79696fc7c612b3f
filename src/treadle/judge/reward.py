"""Reward models: sequence classifiers that give an answer a number, on this machine.

    judge = RewardModel("OpenAssistant/reward-model-deberta-v3-large-v2")     # or a folder
    judge.score(items)

The other kind of judge: it is not asked in words, so rows cannot give it orders, and has no rubric, so
nobody can say what its number means. Its scale is its own: compare its scores, and hold them against
nothing. What is longer than the model reads is unscored rather than cut, for the end of an answer
decides as much as its beginning.

Any architecture that the installed transformers knows, with one output; safetensors only, and no code
from the model's folder is run. A model with a chat template sees request and answer as turns, any other
as a pair of texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError

from treadle.data.template import neutralise
from treadle.errors import ModelError
from treadle.judge.asking import prompt_hash, refuse_twins, too_long
from treadle.judge.fence import shown
from treadle.judge.figures.verdicts import Verdicts
from treadle.judge.pairs import Identity, Item, Pair, Score, nothing, unseen
from treadle.judge.rulings import compare_by_scores
from treadle.judge.shells import shell
from treadle.models import weights
from treadle.models.batching import cuts
from treadle.models.endpoint.answers import Progress
from treadle.models.linear import quicken
from treadle.models.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids, and to which of two texts each belongs."""

    ids: tuple[int, ...]
    types: tuple[int, ...]


class RewardModel:
    """A sequence classifier with one output. It scores, and compares by scores."""

    def __init__(self, name: str, *, max_tokens: int | None = None) -> None:
        """Load a model from a folder, the local cache or a hub.

        Args:
            name: A folder or an id of the form owner/name.
            max_tokens: What is longer is unscored; by default what the model says it can read.

        Raises:
            ModelError: it is not there, is no such model, or would have to run code of its own.
        """
        self.name = name
        folder = weights.locate(name)
        weights.check(folder, name)
        self._fingerprint = weights.content_hash(folder)
        self._tokenizer: Any = load_tokenizer(folder, name)
        self._model: Any = _load(folder, name)
        config = self._model.config.get_text_config()
        # Models that read the last token find it by the pad token; without one, nothing is padded.
        self._pad: int | None = config.pad_token_id
        self._has_types = getattr(config, "type_vocab_size", 0) > 1
        self._max_tokens = max_tokens or _longest(config, self._tokenizer)

    @property
    def identity(self) -> Identity:
        """A reward model is its weights: there is no address, and no rubric."""
        model = f"{Path(self.name).name}@{self._fingerprint}"
        return Identity("local", model, "reward", prompt_hash(__name__), "none", "none")

    def score(
        self,
        items: Sequence[Item],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> list[Score]:
        """Score each item, in order: the model's one output as it is.

        An answer that is none is unscored here: there is no least number. It gives the same number for
        every `sample`.
        """
        refuse_twins([item.name for item in items], "item")
        scores: list[Score | None] = [_by_rule(item) for item in items]
        tokens = {i: self._tokens(items[i]) for i, score in enumerate(scores) if score is None}
        for i, one in tokens.items():
            if (size := len(one.ids)) > self._max_tokens:
                problem = f"too long: {size:,} tokens, and the model reads {self._max_tokens:,}"
                scores[i] = Score(None, problem)
        asked = [i for i in tokens if scores[i] is None]
        asked.sort(key=lambda i: (len(tokens[i].ids), tokens[i].ids))
        progress = Progress(calls=len(items), done=len(items) - len(asked))
        for places in self._batches(asked, [len(tokens[i].ids) for i in asked]):
            tick()
            for i, value in zip(places, self._values([tokens[i] for i in places]), strict=True):
                known = math.isfinite(value)
                scores[i] = Score(value) if known else Score(None, f"the model gave {value}")
            progress.done += len(places)
            on_progress(progress)
        return [score for score in scores if score is not None]

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Verdicts:
        """Score both answers of each pair: the higher one wins. There is no order to sway it."""
        return compare_by_scores(
            pairs, lambda items: self.score(items, tick=tick, on_progress=on_progress)
        )

    def _tokens(self, item: Item) -> _Tokens:
        """Return a request and its answer as the model was trained to see them."""
        marks = tuple(self._tokenizer.all_special_tokens)
        request, answer = (neutralise(shown(text), marks) for text in (item.request, item.answer))
        if self._tokenizer.chat_template:
            turns = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
            text = self._tokenizer.apply_chat_template(turns, tokenize=False)
            found = self._tokenizer(text, add_special_tokens=False)
        else:
            found = self._tokenizer(request, answer)
        ids = tuple(found["input_ids"])
        return _Tokens(ids, tuple(found.get("token_type_ids", (0,) * len(ids))))

    def _batches(self, places: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
        """Cut places, sorted by length, into batches of few padded tokens."""
        if self._pad is None:
            yield from ([place] for place in places)
            return
        for begin, end in cuts(lengths, BATCH_TOKENS):
            yield places[begin:end]

    def _values(self, batch: Sequence[_Tokens]) -> list[float]:
        """Run sequences of about one length through the model, padded at the right."""
        longest = max(len(one.ids) for one in batch)

        def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
            return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

        inputs = {
            "input_ids": padded([one.ids for one in batch], self._pad or 0),
            "attention_mask": padded([[1] * len(one.ids) for one in batch], 0),
        }
        if self._has_types:
            inputs["token_type_ids"] = padded([one.types for one in batch], 0)
        with torch.inference_mode():
            logits_B1 = self._model(**inputs).logits
        return [float(value) for value in logits_B1[:, 0]]


def _load(folder: Path, name: str) -> PreTrainedModel:
    """Return the classifier of a folder.

    Raises:
        ModelError: it cannot be loaded, has no head for scores, or more outputs than one.
    """
    try:
        with weights.quietly():
            model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, trust_remote_code=False,
                dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"reward model {name!r}: cannot be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
    if report["missing_keys"]:
        raise ModelError(
            f"reward model {name!r}: its files lack {', '.join(sorted(report['missing_keys'])[:3])}, which "
            "would be random. It is no reward model: use one that was trained to score."
        )
    if model.config.num_labels != 1:
        raise ModelError(
            f"reward model {name!r}: has {model.config.num_labels} outputs, and a reward is one number. Use "
            "a model with one."
        )
    scores: PreTrainedModel = quicken(model.eval())
    return scores


def _longest(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model says that it can read."""
    limits = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    return int(min(limit for limit in (*limits, 32_768) if limit and limit > 0))


def _by_rule(item: Item) -> Score | None:
    if problem := too_long(item.request, item.answer):
        return Score(None, problem)
    kind = shell(item.answer)
    return Score(None, f"no answer ({kind})") if kind else None
