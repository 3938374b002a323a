"""`edge_client proxy`: OpenAI's form for programs that send ordinary pictures."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output
from shared.errors import UsageError


def proxy(
    *,
    listen: Annotated[
        str, typer.Option("--listen", "-l", metavar="HOST:PORT", help="Where programs ask.")
    ] = "127.0.0.1:9000",
    quality: options.Quality = None,
    budget: options.Budget = None,
    resolution: options.ResolutionText = "model",
    no_guidance: options.NoGuidance = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    bundle: options.BundleName = None,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            "-c",
            min=1,
            max=64,
            help="Requests whose pictures are coded at a time.",
        ),
    ] = 2,
    connect_timeout: options.ConnectTimeout = 5.0,
    send_timeout: options.SendTimeout = 30.0,
    answer_timeout: options.AnswerTimeout = 120.0,
    pool_timeout: options.PoolTimeout = 30.0,
    quiet: options.Quiet = False,
) -> None:
    """Speak OpenAI's chat completions to programs here, and send their pictures coded.

    A program keeps its code and changes its base URL. Its key is passed on, or replaced by
    --api-key where one is set.

    [bold]Example[/bold]

    edge_client proxy --server https://cloud.example:8000

    OPENAI_BASE_URL=http://127.0.0.1:9000/v1 any-program
    """
    size = options.parse_resolution(resolution)
    most = options.parse_budget(budget, quality)
    settings = options.resolve_options(server, api_key, bundle).settings
    try:
        from edge_client.proxy.app import create_app
        from edge_client.proxy.server import listen as listen_on
        from edge_client.proxy.server import run
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        raise UsageError(
            f"the proxy needs {missing}, which is not installed",
            hint="pip install '.[proxy]' in a checkout",
        ) from error
    from edge_client.coding.picture_coder import PictureCoder
    from edge_client.server.connection import Connection, Timeouts

    coder = PictureCoder(
        settings.bundle, quality=quality, budget=most, resolution=size, guidance=not no_guidance
    )
    timeouts = Timeouts(connect_timeout, send_timeout, answer_timeout, pool_timeout)
    talk = Output(quiet=quiet)
    connection = Connection(settings.server, settings.api_key, timeouts)
    app = create_app(coder, connection, talk.say, concurrency)
    with listen_on(listen) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
        talk.say(f"listening on {url}; questions go to {settings.server}; end with Ctrl-C")
        if settings.api_key and not ipaddress.ip_address(host).is_loopback:
            talk.say(f"everyone who reaches {host} asks with this device's key")
        run(app, listener)
