"""A Hugging Face tokenizer as treadle needs it: rendered text in, ids and character offsets out.

Nothing is added that the chat template did not write itself (no second BOS), and the template runs
only in transformers' own sandboxed renderer: templates come with downloaded models, and a plain
Jinja environment would let one run code.

Not here: loss masks (`data.template`), slow Python tokenizers (they give no offsets).
"""

from __future__ import annotations

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
        """Special tokens, and other added tokens that occur in the chat template."""
        template = str(self.backend.chat_template)
        added = (text for text in self.backend.get_added_vocab() if text in template)
        return tuple(sorted({*self.backend.all_special_tokens, *added}))

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
        backend = self.backend.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        found = backend.encode_batch(list(texts), add_special_tokens=False)
        return [_encoding(encoding.ids, encoding.offsets) for encoding in found]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        return str(
            self.backend.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


def _encoding(ids: list[int], offsets: list[tuple[int, int]]) -> Encoding:
    """Undo offset trimming: a token that follows its neighbour begins where that one ends.

    Byte-level tokenizers report ` Paris` as starting at `P`, and a run of spaces as empty. Pieces
    of one multi-byte character overlap; they keep the character's own start.
    """
    spans = np.array(offsets, dtype=np.int32).reshape(-1, 2)
    starts = spans[:, 0].copy()
    if len(starts):
        starts[0] = 0
        starts[1:] = np.minimum(starts[1:], spans[:-1, 1])
    return Encoding(np.array(ids, dtype=np.int32), starts)
