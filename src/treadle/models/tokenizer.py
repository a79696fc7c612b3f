"""A Hugging Face tokenizer as treadle needs it: rendered text in, ids and character offsets out.

Nothing is added that the chat template did not write itself (no second BOS), and the template runs
only in transformers' own sandboxed renderer: templates come with downloaded models, and a plain
Jinja environment would let one run code.

Not here: loss masks (`data.template`), slow Python tokenizers (they give no offsets).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from treadle.data.row import Message
from treadle.data.template import Encoding
from treadle.errors import DataError, ModelError

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerFast


class HFTokenizer:
    """`data.template.Tokenizer` over a fast transformers tokenizer with a chat template.

    Args:
        extra_stop_ids: ids at which generation ends, beyond the tokenizer's own end-of-text id.

    Raises:
        ModelError: the tokenizer is slow or has no chat template.
    """

    def __init__(
        self, backend: PreTrainedTokenizerFast, *, name: str, extra_stop_ids: Sequence[int] = ()
    ) -> None:
        if not getattr(backend, "is_fast", False):
            raise ModelError(
                f"model {name!r}: only a slow tokenizer is available, and it cannot say where each "
                "token starts. Use a model with a tokenizer.json."
            )
        if not isinstance(backend.chat_template, str):
            raise ModelError(
                f"model {name!r} has no chat template, so rows cannot be turned into its tokens. "
                "Use the instruction-tuned (chat) version, or put a chat_template.jinja beside its "
                "tokenizer.json."
            )
        self.backend = backend
        self.name = name
        own = [] if backend.eos_token_id is None else [int(backend.eos_token_id)]
        self._stop_ids = frozenset([*own, *(int(i) for i in extra_stop_ids)])

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        return self._stop_ids

    @property
    def pad_id(self) -> int:
        """A valid id to fill up batches with; masks go by position, so which one is free."""
        pad = self.backend.pad_token_id
        return int(pad) if pad is not None else min(self._stop_ids, default=0)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Special tokens, and other added tokens that the chat template writes."""
        added = self.backend.added_tokens_decoder.values()
        written = str(self.backend.chat_template) + self._sample()
        used = (token.content for token in added if token.special or token.content in written)
        return tuple(sorted({*self.backend.all_special_tokens, *used}))

    def _sample(self) -> str:
        """Turns of every role that the template takes: templates put tokens together from parts."""
        texts = []
        for roles in (("user", "assistant"), ("system", "user"), ("user", "assistant", "tool")):
            with contextlib.suppress(DataError):
                turns = [Message(role, "x") for role in roles]
                texts.append(self.render(turns, open_reply=True))
        return "".join(texts)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of vocabulary, merges, template and stop ids."""
        parts = [
            self.backend.backend_tokenizer.to_str(),
            str(self.backend.chat_template),
            sorted(self._stop_ids),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def render(self, turns: Sequence[Message], *, open_reply: bool) -> str:
        """Render turns with the chat template.

        Raises:
            DataError: the template refuses these turns (a role or an order that it does not know).
        """
        from jinja2 import TemplateError

        chat = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self.backend.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=open_reply
            )
        except TemplateError as error:
            order = ", ".join(turn.role for turn in turns)
            raise DataError(
                f"the chat template of {self.name!r} refuses turns ({order}): {error}. "
                "Change the rows' roles or use another model."
            ) from error
        return str(text)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode rendered texts."""
        found = self._encoder.encode_batch(list(texts), add_special_tokens=False)
        return [_encoding(encoding.ids, encoding.offsets) for encoding in found]

    @cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        """The tokenizer without its last step, which adds tokens and trims spaces off offsets.

        With trimmed offsets, ` Paris` would start at `P`, and a run of spaces nowhere.
        """
        import tokenizers

        settings = json.loads(self.backend.backend_tokenizer.to_str())
        settings |= {"post_processor": None, "truncation": None, "padding": None}
        return tokenizers.Tokenizer.from_str(json.dumps(settings))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        return str(
            self.backend.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


def _encoding(ids: list[int], offsets: list[tuple[int, int]]) -> Encoding:
    """Close gaps: a token begins no later than its neighbour ends (normalisers drop characters)."""
    spans = np.array(offsets, dtype=np.int32).reshape(-1, 2)
    starts = spans[:, 0].copy()
    if len(starts):
        starts[0] = 0
        starts[1:] = np.minimum(starts[1:], spans[:-1, 1])
    return Encoding(np.array(ids, dtype=np.int32), starts)
