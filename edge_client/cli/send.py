"""`edge_client send`: a question about a picture."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.output import put, put_json, say


def send(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or - for stdin.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question.")],
    quality: options.Quality = None,
    budget: options.Budget = None,
    resolution: options.ResolutionText = "model",
    no_guidance: options.NoGuidance = False,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help="Longest answer in tokens.")
    ] = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    bundle: options.BundleName = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Code a picture, send it with a question, print the answer.

    [bold]Examples[/bold]

    edge_client send street.png "how many cars?"

    edge_client send street.png "how many cars?" --json | jq .answer
    """
    size = options.parse_resolution(resolution)
    settings = options.resolve_options(server, api_key, bundle).settings
    from edge_client.client import EdgeClient

    with EdgeClient(
        settings.server,
        api_key=settings.api_key,
        bundle=settings.bundle,
        quality=quality,
        budget=options.parse_budget(budget, quality),
        resolution=size,
        guidance=not no_guidance,
    ) as client:
        answer = client.ask(
            sys.stdin.buffer if picture == "-" else picture, prompt, max_new_tokens=max_new_tokens
        )
    if json:
        put_json({"picture": picture, "prompt": prompt, **answer.model_dump()})
        return
    put(answer.answer)
    if not quiet:
        image, times = answer.image, answer.timings_ms
        say(
            f"{picture}: {image.width}x{image.height} sent as {image.bytes} bytes "
            f"({image.bpp:.3f} bpp); {answer.model} saw the {answer.view} and took "
            f"{times.total:.0f} ms"
        )
