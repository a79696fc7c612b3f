"""Commands about judges: let one earn a licence, look at it, compare two systems, keep labels of people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli import show
from treadle.cli.options import Json
from treadle.errors import RecipeError

if TYPE_CHECKING:
    from treadle.judge.licensing.licence import Licence
    from treadle.models.endpoint import Endpoint

REFUSED = 3
app = typer.Typer(
    name="judge", no_args_is_help=True, rich_markup_mode="rich",
    help="Judges: the licence that one must earn, and what its verdicts are worth beside people's.",
)  # fmt: skip

Url = Annotated[str, typer.Option(help="Address up to the version, as http://127.0.0.1:8080/v1.")]
Model = Annotated[str, typer.Option(help="The model that judges.")]
KeyEnv = Annotated[str | None, typer.Option(help="Environment variable that holds the key.")]
Wire = Annotated[str, typer.Option(help="openai or anthropic.")]
PricePrompt = Annotated[
    float | None,
    typer.Option(help="Dollars a million prompt tokens, if the price table lacks them."),
]
PriceReply = Annotated[float | None, typer.Option(help="Dollars a million reply tokens.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
RubricName = Annotated[str, typer.Option("--rubric", help="A rubric that comes with treadle, or a YAML file.")]  # fmt: skip
StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of the call book and licences.")]
Usd = Annotated[float | None, typer.Option("--budget-usd", help="Never spend more, in all.")]
Requests = Annotated[int | None, typer.Option("--budget-requests", help="Never send more, in all.")]
STORE = Path("runs/.store")


def register(parent: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (license, show_licence, compare, labels):
        name = "show" if command is show_licence else command.__name__
        app.command(name)(command)
    parent.add_typer(app, rich_help_panel="Endpoints")


@contextmanager
def _asking(
    url: str, model: str, payer: str, store: Path, *, key_env: str | None = None,
    wire: str = "openai", prices: tuple[float | None, float | None] = (None, None),
    concurrency: int = 32, usd: float | None = None, requests: int | None = None,
) -> Iterator[Endpoint]:  # fmt: skip
    """Open an endpoint over the store's call book."""
    from treadle.machinery.calls import CallBook, Limits
    from treadle.models.endpoint import Address, Endpoint
    from treadle.workshop import CALLS

    if wire not in ("openai", "anthropic"):
        raise RecipeError(f"--wire {wire}: openai or anthropic.")
    if (prices[0] is None) != (prices[1] is None):
        raise RecipeError("give --price-prompt and --price-reply together, 0 where it is free.")
    price = None if prices[0] is None else {"prompt": prices[0], "reply": prices[1] or 0.0}
    address = Address(
        url, model, wire=wire, key_env=key_env, price=price, concurrency=concurrency  # type: ignore[arg-type]
    )  # fmt: skip
    store.mkdir(parents=True, exist_ok=True)
    book = CallBook(store / CALLS)
    try:
        limits = Limits(usd=usd, requests=requests)
        with Endpoint(address, book.session(payer, limits)) as endpoint:
            yield endpoint
    finally:
        book.close()


def license(
    url: Url, model: Model, key_env: KeyEnv = None, wire: Wire = "openai",
    price_prompt: PricePrompt = None, price_reply: PriceReply = None, concurrency: Concurrency = 32,
    rubric: RubricName = "helpful",
    pairs: Annotated[
        Path | None, typer.Option(help="Your pairs whose better answer is known: JSONL, CSV …")
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="Labels or scores of people; kept in the store for next time."),
    ] = None,
    fresh: Annotated[
        int, typer.Option(help="Verifier-made pairs; the other sets grow with them.")
    ] = 600,
    own: Annotated[
        bool, typer.Option(help="Let the model answer too, to see whether it prefers its own.")
    ] = True,
    seed: Annotated[
        int | None, typer.Option(help="Of the fresh pairs; by default a new one each time.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who signs. By default your user name.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for copies: licence.json, report.html.")
    ] = None,
    store: StoreFolder = STORE, budget_usd: Usd = None, budget_requests: Requests = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Examine a judge, and write down what it may do: gate, filter, break ties, or nothing.

    About 8,000 short calls by default. Every reply is kept: stopped or killed, the same command goes
    on and pays nothing twice. Without --people nobody can earn the power to gate.

    [bold]Example[/]  treadle judge license --url http://127.0.0.1:8080/v1 --model qwen --people labels.csv

    [bold]Exit code[/]  0: it may filter, or more; 3: it may break ties at most; 4: the budget ran out.
    """
    from treadle.cli.licensing import Asked, examine
    from treadle.cli.live import phases
    from treadle.report.licence import licence_page

    asked = Asked(rubric, pairs, people, fresh, own, seed, by, store)
    with (
        _asking(url, model, f"licence of {model}", store, key_env=key_env, wire=wire,
                prices=(price_prompt, price_reply), concurrency=concurrency, usd=budget_usd,
                requests=budget_requests) as endpoint,
        phases(is_shown=not json) as live,
    ):  # fmt: skip
        licence, exam, path = examine(endpoint, asked, live)
    page = licence_page(licence, exam)
    written = _write(path, licence, page, out)
    _tell(licence, json)
    if not json:
        show.written(written)
    raise typer.Exit(0 if licence.power in ("gate", "filter") else REFUSED)


def _write(path: Path, licence: Licence, page: str, out: Path | None) -> list[Path]:
    """Put the page beside the licence, and copies where they are wanted."""
    from treadle.machinery.disk import Disk

    targets = [(path.with_suffix(".html"), page.encode("utf-8", "replace"))]
    if out is not None:
        targets += [(out / "report.html", targets[0][1]), (out / "licence.json", path.read_bytes())]
    for target, blob in targets:
        Disk().publish(target, blob)
    return [path, *(target for target, _ in targets)]


def _tell(licence: Licence, json: bool) -> None:
    """Print a licence: the power, and what stands in the way of more."""
    from treadle.judge.figures.powers import ALL
    from treadle.judge.licensing.checking import SAID
    from treadle.report.licence_figures import stands

    if json:
        show.as_json(licence.as_json())
        return
    figures: dict[str, dict[str, Any]] = {x["name"]: x for x in licence.findings["figures"]}
    rows = [
        (name, one["value"], one["low"], one["high"], one["items"], one["state"])
        for name, one in figures.items()
    ]
    show.table(("figure", "value", "95% from", "to", "pairs", "bar"), rows)
    who = licence.identity
    show.say(f"\n{who.model} with the rubric {who.rubric} may {SAID[licence.power]}.")
    for power in reversed(ALL):
        names = licence.findings["in_the_way"][power]
        if names:
            show.say(f"To {SAID[power]}: {'; '.join(stands([figures[name] for name in names]))}.")


def show_licence(
    licence: Annotated[
        Path | None, typer.Argument(help="A licence; without one, all in the store are listed.")
    ] = None,
    wire: Wire = "openai",
    out: Annotated[Path | None, typer.Option("--out", help="Write the page here, as .html.")] = None,
    store: StoreFolder = STORE,
    json: Json = False,
) -> None:  # fmt: skip
    """Compute a licence again from the call book, and show it; nothing is asked or paid.

    [bold]Example[/]  treadle judge show runs/.store/licences/ff71e8170a4a2496.json

    [bold]Exit code[/]  1: it does not hold (edited, or its replies are not here).
    """
    from treadle.judge.licensing.checking import checked
    from treadle.judge.licensing.licence import read
    from treadle.machinery.disk import Disk
    from treadle.machinery.store import Store
    from treadle.report.licence import licence_page

    if licence is None:
        known = [
            read(path) for path in sorted((store / "licences").glob("*.json"))
            if not path.name.endswith(".open.json")
        ]  # fmt: skip
        rows = [(x.identity.hash, x.identity.model, x.identity.rubric, x.power, x.when, x.by) for x in known]  # fmt: skip
        if json:
            show.as_json([x.as_json() for x in known])
        elif rows:
            show.table(("judge", "model", "rubric", "may", "since", "signed by"), rows)
        else:
            show.say(f"{store}: no licences here.")
        return
    who = read(licence).identity
    # Nothing is asked, so no key is needed and nothing is paid.
    with _asking(who.url, who.model, "licence check", store, wire=wire, prices=(0.0, 0.0)) as endpoint:  # fmt: skip
        found, exam = checked(endpoint, licence, Store(store))
    _tell(found, json)
    if out is not None:
        Disk().publish(out, licence_page(found, exam).encode("utf-8", "replace"))
        if not json:
            show.written([out])


def compare(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs: answer_1 of one system, answer_2 of the other.")
    ],
    url: Url, model: Model, key_env: KeyEnv = None, wire: Wire = "openai",
    price_prompt: PricePrompt = None, price_reply: PriceReply = None, concurrency: Concurrency = 32,
    rubric: RubricName = "helpful", store: StoreFolder = STORE, budget_usd: Usd = None,
    budget_requests: Requests = None,
    unlicensed: Annotated[
        bool, typer.Option("--unlicensed", help="Ask a judge without a licence; the result says so.")
    ] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Say how often system 1 wins: as judged, at equal length, and as people would say.

    With 50 labels of people or more (a `label` in the file), these and the verdicts make one estimate (PPI++):
    the one to go by. A judge needs the licence to break ties.

    [bold]Example[/]  treadle judge compare pairs.jsonl --url http://127.0.0.1:8080/v1 --model qwen
    """
    from treadle.cli.licensing import compared
    from treadle.cli.live import phases

    with (
        _asking(url, model, f"comparisons by {model}", store, key_env=key_env, wire=wire,
                prices=(price_prompt, price_reply), concurrency=concurrency, usd=budget_usd,
                requests=budget_requests) as endpoint,
        phases(is_shown=not json) as live,
    ):  # fmt: skip
        found = compared(endpoint, rubric, pairs, store, live, unlicensed=unlicensed)
    if json:
        show.as_json(found)
        return
    rows = [
        (x["estimate"], x["value"], x["low"], x["high"], x["pairs"]) for x in found["estimates"]
    ]
    show.table(("wins of system 1", "share", "95% from", "to", "pairs"), rows)
    for sentence in [*found["notes"], *(x["sentence"] for x in found.get("unlicensed", ()))]:
        show.say(sentence)


def labels(
    file: Annotated[
        Path | None, typer.Argument(help="Labels to keep: JSONL, CSV … Without it, what is here.")
    ] = None,
    store: StoreFolder = STORE,
    json: Json = False,
) -> None:
    """Keep labels of people in the store, and say how far people agree with each other.

    A pair has request, answer_1, answer_2 and label (1, 2, or 0 for a tie); an answer has request, answer and
    score; both may have annotator and when. Importing a file twice adds nothing.

    [bold]Example[/]  treadle judge labels labels.csv
    """
    from treadle.cli.licensing import labelled

    found = labelled(file, store)
    if json:
        show.as_json(found)
        return
    if found["added"] is not None:
        show.say(f"{found['added']:,} new labels.")
    columns = (
        "kind",
        "things",
        "labels",
        "people",
        "split",
        "changed",
        "alpha",
        "one against rest",
    )
    show.table(columns, [tuple(one.values()) for one in found["kept"]])
