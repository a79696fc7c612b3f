"""Where an endpoint is, which model it is asked for, what a token costs, and how it may be used."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from treadle.errors import RecipeError
from treadle.machinery.calls import Price

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECRET_HEADER = re.compile("auth|key|token|secret|password|cookie", re.IGNORECASE)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Wire = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Nano-dollars a token: dollars a million tokens times 1,000."""

    prompt: int
    reply: int

    @classmethod
    def per_million(cls, prompt: float, reply: float) -> TokenPrice:
        """From dollars a million tokens; rounded up to a nano-dollar a token.

        Raises:
            RecipeError: a price is negative, or no number.
        """
        for price in (prompt, reply):
            if (
                isinstance(price, bool)
                or not isinstance(price, int | float)
                or not 0 <= price < 1e6
            ):
                raise RecipeError(
                    f"price: {price!r} is no price in dollars a million tokens, such as 0.15."
                )
        return cls(*(-int(-round(price * 1e6) // 1000) for price in (prompt, reply)))

    def of(self, prompt_tokens: int, reply_tokens: int) -> Price:
        """The price of so many tokens."""
        nano = prompt_tokens * self.prompt + reply_tokens * self.reply
        return Price(prompt_tokens + reply_tokens, nano)


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint and the model it serves.

    The key comes from the environment variable `key_env` and is never written anywhere. `price` is
    in dollars a million tokens, `{prompt: 0.15, reply: 0.60}`; without it the price table decides,
    and what runs on this machine is free. `deadline_s` is for one send, `tries` bounds the sends of one
    request, and after `give_up_after_s` without any reply the endpoint counts as down. `batch` hands
    calls in together: they are answered within a day, at the share of the price that the table gives
    (`batch: 0.5`), and asked after every `batch_poll_s`.
    """

    url: str
    model: str
    wire: Wire = "openai"
    key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate_authority: str | None = None
    price: Mapping[str, float] | None = None
    concurrency: int = 32
    deadline_s: float = 300.0
    tries: int = 8
    give_up_after_s: float = 600.0
    backoff_s: float = 0.5
    longest_wait_s: float = 60.0
    batch: bool = False
    batch_poll_s: float = 30.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RecipeError(
                f"url: {self.url!r} is no web address. Write it up to the version, such as "
                "https://api.openai.com/v1 or http://127.0.0.1:8080/v1."
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise RecipeError(
                f"url: {parts.scheme}://{parts.hostname}… holds more than an address. Keys belong in "
                "an environment variable, named by key_env."
            )
        if not self.model:
            raise RecipeError(f"model: name the model that {self.url} shall use.")
        if any(SECRET_HEADER.search(name) for name in self.headers):
            raise RecipeError(
                "headers: a key belongs in an environment variable, named by key_env."
            )
        if self.key_env is not None and not VARIABLE.fullmatch(self.key_env):
            raise RecipeError(  # it may be the key itself, so it is not shown
                "key_env: must be the name of an environment variable, such as OPENAI_API_KEY. Never "
                "write a key into a recipe."
            )
        if self.certificate_authority and not Path(self.certificate_authority).is_file():
            raise RecipeError(f"certificate_authority: {self.certificate_authority}: no such file.")
        for name in ("concurrency", "deadline_s", "tries", "give_up_after_s", "batch_poll_s"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name}: must be above 0, got {getattr(self, name)}.")

    @property
    def base(self) -> str:
        return self.url.rstrip("/")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def secret(self) -> str | None:
        """The key, from the environment.

        Raises:
            RecipeError: a variable is named and not set.
        """
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env)
        if not key:
            raise RecipeError(
                f"key_env: the environment variable {self.key_env} is not set. Set it to the key of "
                f"{self.base}."
            )
        return key

    @property
    def token_price(self) -> TokenPrice:
        """What a token costs.

        Raises:
            RecipeError: nobody knows; nothing is spent on a guess.
        """
        where, found = self._priced
        return _checked(found, where)

    @property
    def batch_price(self) -> TokenPrice:
        """What a token costs in a batch: the same, unless price or table say `batch: 0.5`.

        Raises:
            RecipeError: as for `token_price`; or the share is none.
        """
        where, found = self._priced
        share = found.get("batch", 1.0)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise RecipeError(
                f"{where}: batch must be a share of the price, such as 0.5, got {share!r}."
            )
        full = _checked(found, where)
        return TokenPrice(math.ceil(full.prompt * share), math.ceil(full.reply * share))

    @property
    def _priced(self) -> tuple[str, Mapping[str, Any]]:
        """Where a price is found, and the price."""
        if self.price is not None:
            return f"price of {self.model}", self.price
        if self.host in LOOPBACK:
            return "this machine", {"prompt": 0, "reply": 0}
        for table in _tables():
            if (found := _find(table.get(self.host, {}), self.model)) is not None:
                return f"price table, {self.host}, {self.model}", found
        raise RecipeError(
            f"nobody knows what {self.model} at {self.host} costs, so no budget can be kept. Say it: "
            "`price: {prompt: 0.15, reply: 0.60}` in dollars a million tokens (0 where it is free)."
        )


def _find(models: Mapping[str, Any], model: str) -> Mapping[str, Any] | None:
    """Return the price of a model, or of the one that it is a dated version of."""
    for name in sorted(models, key=len, reverse=True):
        if re.fullmatch(re.escape(name) + r"(-\d{4}-?\d{2}-?\d{2}|-\d{8}|-latest)?", model):
            found: Mapping[str, Any] = models[name]
            return found
    return None


def _checked(price: Mapping[str, Any], where: str) -> TokenPrice:
    if not isinstance(price, Mapping) or not {"prompt", "reply"} <= set(price):
        raise RecipeError(f"{where}: give both, {{prompt: 0.15, reply: 0.60}}, got {price!r}.")
    return TokenPrice.per_million(price["prompt"], price["reply"])


def _tables() -> list[dict[str, Any]]:
    """Return the user's price table, if there is one, and ours."""
    texts = []
    if own := os.environ.get("TREADLE_PRICES"):
        try:
            texts.append((own, Path(own).read_text(encoding="utf-8")))
        except OSError as error:
            raise RecipeError(f"TREADLE_PRICES: {own}: {error.strerror or error}.") from error
    shipped = resources.files("treadle.models.endpoint") / "prices.yaml"
    texts.append(("prices.yaml", shipped.read_text(encoding="utf-8")))
    tables = []
    for name, text in texts:
        try:
            table = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{name}: not YAML ({error}).") from error
        if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
            raise RecipeError(f"{name}: expected hosts, each with models and prices, as ours has.")
        tables.append(table)
    return tables
