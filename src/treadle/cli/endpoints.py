"""Commands around models behind endpoints: serve one here, and what all of them have cost."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import show


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("serve-model", rich_help_panel="Endpoints")(serve_model)


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
