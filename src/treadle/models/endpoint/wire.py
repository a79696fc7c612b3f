"""What is sent to an endpoint and how its reply is read: two wire formats, three kinds of call.

A call is data: what decides the reply and nothing else. `body` is what is sent, `read` what is made
of a reply. Nothing here talks to anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pydantic

from treadle.data.row import Message
from treadle.models.endpoint.address import Wire

MESSAGE_TOKENS = 32
"""More than any chat template puts around a turn."""
FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)


class MalformedReplyError(ValueError):
    """The bytes are no reply in this wire format."""


class WrongSchemaError(ValueError):
    """The reply does not fit what was asked for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply, as its wire format has it. Token counts are None where they are not credible."""

    text: str
    finish: str
    prompt_tokens: int | None
    reply_tokens: int | None
    value: Any = None
    logprobs: tuple[tuple[str, float, dict[str, float]], ...] | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to go on with.

    `schema` asks for a JSON object that fits it. `logprobs` asks for the log-probability of each
    reply token and so many alternatives. Ask for several samples by different `sample` numbers.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    schema: type[pydantic.BaseModel] | None = None
    logprobs: int | None = None
    sample: int = 0

    @classmethod
    def of(cls, text: str, *, max_tokens: int, system: str | None = None, **options: Any) -> Chat:
        """A single question, with or without a system turn."""
        turns = [Message("system", system)] if system is not None else []
        return cls((*turns, Message("user", text)), max_tokens, **options)

    @property
    def most_prompt_tokens(self) -> int:
        """No prompt has more tokens than bytes, and its template adds little."""
        schema = json.dumps(self.schema.model_json_schema()) if self.schema else ""
        sizes = [len(turn.content.encode()) + MESSAGE_TOKENS for turn in self.messages]
        return sum(sizes) + len(schema.encode()) + MESSAGE_TOKENS

    def path(self, wire: Wire) -> str:
        return "/chat/completions" if wire == "openai" else "/messages"

    def body(self, model: str, wire: Wire) -> dict[str, Any]:
        """Return the JSON that is sent.

        Raises:
            ValueError: this wire format cannot carry it.
        """
        return _BODIES[wire](self, model)

    def read(self, reply: Mapping[str, Any], wire: Wire) -> Reading:
        """Read a reply.

        Raises:
            MalformedReplyError: it is none.
            WrongSchemaError: it holds no object that fits the schema.
        """
        found = _READERS[wire](reply)
        if self.schema is None or found.finish == "content_filter":
            return found
        return replace(found, value=_fitting(found.text, self.schema))

    def repaired(self, text: str, complaint: str) -> Chat:
        """Return the call that shows the model what was wrong with its reply."""
        return replace(
            self,
            messages=(
                *self.messages,
                Message("assistant", text or "(empty)"),
                Message(
                    "user",
                    f"That reply cannot be used: {complaint}\nAnswer again, with one JSON object and "
                    "nothing else.",
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """Text to go on with, as it is. `echo` returns the log-probabilities of the prompt itself."""

    prompt: str
    max_tokens: int
    temperature: float = 0.0
    logprobs: int | None = None
    echo: bool = False
    sample: int = 0

    @property
    def most_prompt_tokens(self) -> int:
        return len(self.prompt.encode()) + MESSAGE_TOKENS

    def path(self, wire: Wire) -> str:
        return "/completions"

    def body(self, model: str, wire: Wire) -> dict[str, Any]:
        if wire != "openai":
            raise ValueError(f"{wire} has no plain completions; ask by chat.")
        body: dict[str, Any] = {
            "model": model, "prompt": self.prompt, "max_tokens": self.max_tokens,
            "temperature": self.temperature, "seed": self.sample,
        }  # fmt: skip
        if self.logprobs is not None:
            body["logprobs"] = self.logprobs
        if self.echo:
            body["echo"] = True
        return body

    def read(self, reply: Mapping[str, Any], wire: Wire) -> Reading:
        choice = _first(reply, "choices")
        text = choice.get("text")
        if not isinstance(text, str):
            raise MalformedReplyError("its first choice holds no text")
        counts = usage(reply, "openai")
        return Reading(
            text, str(choice.get("finish_reason")), *counts,
            logprobs=_completion_logprobs(choice.get("logprobs")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Embedding:
    """Texts to embed: the answer's value holds one vector a text."""

    texts: tuple[str, ...]
    max_tokens: int = 0
    sample: int = 0

    @property
    def most_prompt_tokens(self) -> int:
        return sum(len(text.encode()) + MESSAGE_TOKENS for text in self.texts)

    def path(self, wire: Wire) -> str:
        return "/embeddings"

    def body(self, model: str, wire: Wire) -> dict[str, Any]:
        if wire != "openai":
            raise ValueError(f"{wire} has no embeddings.")
        return {"model": model, "input": list(self.texts), "encoding_format": "float"}

    def read(self, reply: Mapping[str, Any], wire: Wire) -> Reading:
        data = reply.get("data")
        if not isinstance(data, list) or len(data) != len(self.texts):
            raise MalformedReplyError(f"expected {len(self.texts)} embeddings")
        vectors: dict[int, list[float]] = {}
        for place, one in enumerate(data):
            vector = one.get("embedding") if isinstance(one, dict) else None
            if not isinstance(vector, list) or not all(_is_number(x) for x in vector):
                raise MalformedReplyError(f"embedding {place} is no list of numbers")
            index = one.get("index", place)
            vectors[index if isinstance(index, int) else place] = [float(x) for x in vector]
        if sorted(vectors) != list(range(len(self.texts))):
            raise MalformedReplyError("its embeddings are not numbered as the texts are")
        prompt, _ = usage(reply, wire)
        value = [vectors[i] for i in range(len(self.texts))]
        return Reading("", "stop", prompt, 0, value=value)


Call = Chat | Completion | Embedding


def parse(raw: bytes) -> dict[str, Any]:
    """Read bytes as a JSON object.

    Raises:
        MalformedReplyError: they are none.
    """
    try:
        found = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        shown = raw[:80].decode("utf-8", "replace")
        raise MalformedReplyError(f"not JSON ({type(error).__name__}): {shown!r}") from error
    if not isinstance(found, dict):
        raise MalformedReplyError(f"a JSON {type(found).__name__} where an object belongs")
    return found


def _openai_body(call: Chat, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in call.messages],
        "max_tokens": call.max_tokens,
        "temperature": call.temperature,
        "seed": call.sample,
    }
    if call.top_p is not None:
        body["top_p"] = call.top_p
    if call.stop:
        body["stop"] = list(call.stop)
    if call.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = call.logprobs
    if call.schema is not None:
        schema = call.schema.model_json_schema()
        form = {"name": call.schema.__name__, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def _anthropic_body(call: Chat, model: str) -> dict[str, Any]:
    if call.logprobs is not None:
        raise ValueError("anthropic gives no log-probabilities; use an OpenAI-compatible endpoint.")
    turns = [turn for turn in call.messages if turn.role != "system"]
    system = [turn.content for turn in call.messages if turn.role == "system"]
    if call.schema is not None:
        schema = json.dumps(call.schema.model_json_schema(), sort_keys=True)
        system.append(
            f"Answer with one JSON object that fits this schema, and nothing else: {schema}"
        )
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "max_tokens": call.max_tokens,
        "temperature": call.temperature,
    }
    if system:
        body["system"] = "\n\n".join(system)
    if call.top_p is not None:
        body["top_p"] = call.top_p
    if call.stop:
        body["stop_sequences"] = list(call.stop)
    return body


def _openai_reading(reply: Mapping[str, Any]) -> Reading:
    choice = _first(reply, "choices")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedReplyError("its first choice holds no message")
    finish = str(choice.get("finish_reason"))
    text = message.get("content")
    if text is None and (finish == "content_filter" or message.get("refusal")):
        text, finish = str(message.get("refusal") or ""), "content_filter"
    if not isinstance(text, str):
        raise MalformedReplyError("its message holds no text")
    counts = usage(reply, "openai")
    return Reading(text, finish, *counts, logprobs=_chat_logprobs(choice.get("logprobs")))


def _anthropic_reading(reply: Mapping[str, Any]) -> Reading:
    content = reply.get("content")
    if not isinstance(content, list):
        raise MalformedReplyError("it holds no content")
    texts = [
        one.get("text") for one in content if isinstance(one, dict) and one.get("type") == "text"
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise MalformedReplyError("its content holds no text")
    stops = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "refusal": "content_filter",
    }
    finish = str(reply.get("stop_reason"))
    counts = usage(reply, "anthropic")
    return Reading("".join(map(str, texts)), stops.get(finish, finish), *counts)


_BODIES: dict[Wire, Callable[[Chat, str], dict[str, Any]]] = {
    "openai": _openai_body,
    "anthropic": _anthropic_body,
}
_READERS: dict[Wire, Callable[[Mapping[str, Any]], Reading]] = {
    "openai": _openai_reading,
    "anthropic": _anthropic_reading,
}


def _first(reply: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = reply.get(name)
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        raise MalformedReplyError(f"it holds no {name}")
    return found[0]


def usage(reply: Mapping[str, Any], wire: Wire) -> tuple[int | None, int | None]:
    """Return the tokens of prompt and reply, None where they are missing or absurd.

    An embedding has no reply, and its servers leave that count out.
    """
    found = reply.get("usage")
    if not isinstance(found, dict):
        return None, None
    names = ("prompt_tokens", "completion_tokens")
    if wire == "anthropic":
        names = ("input_tokens", "output_tokens")
    counts = [found.get(names[0]), found.get(names[1], 0 if "data" in reply else None)]
    is_count = [isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts]
    prompt, answer = (n if good else None for n, good in zip(counts, is_count, strict=True))
    return prompt, answer


def _chat_logprobs(found: object) -> tuple[tuple[str, float, dict[str, float]], ...] | None:
    content = found.get("content") if isinstance(found, dict) else None
    if not isinstance(content, list):
        return None
    try:
        return tuple(
            (
                str(one["token"]),
                float(one["logprob"]),
                {str(o["token"]): float(o["logprob"]) for o in one.get("top_logprobs") or ()},
            )
            for one in content
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedReplyError("its log-probabilities cannot be read") from error


def _completion_logprobs(found: object) -> tuple[tuple[str, float, dict[str, float]], ...] | None:
    if not isinstance(found, dict):
        return None
    if "content" in found:
        return _chat_logprobs(found)
    try:
        tokens, values = found["tokens"], found["token_logprobs"]
        tops: Sequence[Any] = found.get("top_logprobs") or [{}] * len(tokens)
        return tuple(
            (str(token), float("nan") if value is None else float(value), dict(top or {}))
            for token, value, top in zip(tokens, values, tops, strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedReplyError("its log-probabilities cannot be read") from error


def _fitting(text: str, schema: type[pydantic.BaseModel]) -> pydantic.BaseModel:
    """Return the object that a reply holds: the whole of it, or its only fenced block."""
    blocks = FENCED.findall(text)
    source = blocks[0] if len(blocks) == 1 else text
    try:
        return schema.model_validate_json(source.strip(), strict=False)
    except (pydantic.ValidationError, RecursionError) as error:
        if isinstance(error, pydantic.ValidationError):
            wrong = [
                f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors()[:3]
            ]
            raise WrongSchemaError("; ".join(wrong)) from error
        raise WrongSchemaError("nested too deeply") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
