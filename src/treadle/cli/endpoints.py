"""Commands around models behind endpoints: serve one here, and what all of them have cost."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import show
from treadle.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for name, command in (("serve-model", serve_model), ("cost", cost)):
        app.command(name, rich_help_panel="Endpoints")(command)


def serve_model(
    name: Annotated[
        str, typer.Argument(help="embedded, a run folder, a trained adapter, or a .gguf file.")
    ] = "embedded",
    adapter: Annotated[
        Path | None, typer.Option(help="Folder that `train` wrote, over the embedded model.")
    ] = None,
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8080,
    parallel: Annotated[int, typer.Option(min=1, help="Requests that are answered at once.")] = 16,
    context: Annotated[
        int, typer.Option(min=64, help="Tokens a request on the average, prompt and reply.")
    ] = 2048,
    threads: Annotated[
        int | None, typer.Option(min=1, help="By default one fewer than there are cores.")
    ] = None,
) -> None:
    """Serve a model of this machine at an OpenAI-compatible address, until Ctrl-C.

    It answers on 127.0.0.1 only and costs nothing: a teacher, a judge, or a trained student to ask.
    Needs `pip install 'treadle[serve]'`.

    [bold]Example[/]  treadle serve-model runs/recipe --port 8081
    """
    from treadle.models.serving.gguf_file import find
    from treadle.models.serving.server import Settings, start

    found, ended = find(name, adapter), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server = start(Settings(found.file, found.model, port, parallel, context, threads))
    url = f"{server.listening_address}/v1"
    show.say(
        f"Serving {found.model} at {url} until Ctrl-C. In a recipe:\n"
        f"  judge: {{url: {url}, model: {found.model}, concurrency: {parallel}}}"
    )
    ended.wait()
    show.say("Stopped.")


def cost(
    place: Annotated[
        Path, typer.Argument(help="A run folder, or the folder where runs are.")
    ] = Path("runs"),
    json: Json = False,
) -> None:
    """Say what endpoints were asked and what that cost, by payer, provider and model.

    A try that is open (its process was killed, or is at work) counts at its worst case. While a run asks,
    this also says how far it is and what it will cost. Work on this machine is in the run's report.

    [bold]Example[/]  treadle cost runs/recipe
    """
    from treadle import history
    from treadle.flywheel.progress import told
    from treadle.models.endpoint.answers import Progress

    found = history.call_costs(place)
    if json:
        show.as_json(found)
        return
    keys = ("payer", "provider", "model", "tries", "answered", "open", "tokens", "usd", "seconds")
    heads = ("payer", "provider", "model", "requests", *keys[4:])
    show.table(heads, [[line[key] for key in keys] for line in found["lines"]])
    total = sum(line["usd"] for line in found["lines"])
    show.say(f"\n{sum(line['tries'] for line in found['lines']):,} requests, ${total:,.4f} in all.")
    for payer, figures in found["going_on"].items():
        forecast = figures.pop("forecast_usd")
        progress = Progress(**figures)
        show.say(
            f"{payer} is asking (or was, when it was stopped): {progress.done:,} of {progress.calls:,} calls, {told(progress)}. "
            f"This ask will have cost about ${forecast:,.4f}."
        )
