"""`edge_client send`: a question about pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_client.batch import ordered_map
from edge_client.cli import options
from edge_client.cli.coding import Places, describe, pixels_named, record_of
from edge_client.cli.output import Output, error_record
from edge_client.cli.spool import report
from edge_client.pictures.inputs import expand
from edge_client.server.question import Question, check_asked
from edge_client.server.retries import RETRIED
from edge_client.spool.forward import Forwarded, forward
from edge_client.spool.store import Spool
from shared.bitstream import Bitstream
from shared.errors import CotamError, ServerUnreachable, UsageError, batch_exit_code
from shared.files import write_named

if TYPE_CHECKING:
    from edge_client.pictures.images import Picture
    from edge_client.server.client import EdgeClient
    from shared.schemas import QueryResponse


def send(
    *,
    picture: options.Pictures = None,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question, last.")],
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
    concurrency: options.Concurrency = 4,
    retries: options.RetryCount = 3,
    connect_timeout: options.ConnectTimeout = 5.0,
    send_timeout: options.SendTimeout = 30.0,
    answer_timeout: options.AnswerTimeout = 120.0,
    pool_timeout: options.PoolTimeout = 30.0,
    save_bitstream: Annotated[
        Path | None,
        typer.Option("--save-bitstream", metavar="FILE|DIR", help="Keep what is sent."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option("--watch", metavar="DIR", help="Then send new pictures as they come here."),
    ] = None,
    no_spool: Annotated[
        bool, typer.Option("--no-spool", help="Do not keep questions that cannot be sent now.")
    ] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Code pictures, send them with a question, print the answers.

    What cannot be sent now is kept in the spool, coded, for `edge_client spool flush`.

    [bold]Examples[/bold]

    edge_client send street.png "how many cars?"

    edge_client send yard/ "gate*.jpg" "is a person there?" --json | jq -r .answer

    edge_client send photo.jpg "what does the sign say?" --budget 1500B

    edge_client send --watch /var/camera "is the door open?"
    """
    size = options.parse_resolution(resolution)
    most = options.parse_budget(budget, quality)
    resolved = options.resolve_options(server, api_key, bundle)
    check_asked(prompt, max_new_tokens)
    pictures = expand(picture or [])
    if not pictures and watch is None:
        raise UsageError("no picture is named", hint='edge_client send photo.jpg "how many cars?"')
    if watch is not None and not watch.is_dir():
        raise UsageError(f"{watch} is no folder to watch")
    from edge_client.server.client import EdgeClient, Retries, Timeouts

    talk = Output(json, quiet)
    with EdgeClient(
        resolved.settings.server,
        api_key=resolved.settings.api_key,
        bundle=resolved.settings.bundle,
        quality=quality,
        budget=most,
        resolution=size,
        guidance=not no_guidance,
        timeouts=Timeouts(connect_timeout, send_timeout, answer_timeout, pool_timeout),
        retries=Retries(retries),
    ) as client:
        places = Places(pictures, save_bitstream) if save_bitstream else None
        spool = None if no_spool else options.open_spool()
        sender = _Sender(client, prompt, max_new_tokens, spool, places, dry_run)
        errors = []
        with talk.progress(len(pictures)):
            for result in ordered_map(sender.send, pictures, concurrency):
                talk.advance()
                sender.keep_for_later(result)
                _report(talk, result, alone=len(pictures) == 1 and watch is None)
                errors += [result.error] if result.error else []
        if watch is not None:
            _watch(talk, sender, watch)
    if errors:
        raise typer.Exit(batch_exit_code(errors, len(pictures)))


@dataclass
class _Result:
    """What became of one picture.

    stream: None where it could not be coded. later: what could not be sent now.
    """

    picture: str
    stream: Bitstream | None = None
    answer: QueryResponse | None = None
    error: CotamError | None = None
    later: Question | None = None
    spooled: bool = False


class _Sender:
    """One picture after the other, or several at once: code, keep, ask, spool."""

    def __init__(
        self,
        client: EdgeClient,
        prompt: str,
        max_new_tokens: int | None,
        spool: Spool | None,
        places: Places | None,
        dry_run: bool,
    ) -> None:
        self._batch = True
        self._client = client
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._spool = spool
        self._places = places
        self._dry_run = dry_run
        self._lock = threading.Lock()
        self._offline: ServerUnreachable | None = None

    def end_batch(self) -> None:
        """From here on pictures come one by one, and each finds out whether the server is there."""
        self._batch, self._offline = False, None

    def send(self, picture: str) -> _Result:
        """The whole way of a picture; errors are returned."""
        result = _Result(picture)
        try:
            pixels = pixels_named(self._client, picture)
            result.stream = self._client.code(pixels)
            try:
                if not self._dry_run:
                    self._ask(pixels, result)
            finally:
                self._keep(result)
        except CotamError as error:
            result.error = error
        return result

    def keep_for_later(self, result: _Result) -> None:
        """Put what could not be sent into the spool. Called in the order of the pictures."""
        if self._spool is None or result.later is None:
            return
        try:
            self._spool.add(result.later, result.picture)
            result.spooled = True
        except CotamError as error:
            result.error = error

    def catch_up(self) -> Iterator[Forwarded]:
        """Send what waits in the spool, now that the server is there."""
        if self._spool is not None and self._spool.entries():
            with suppress(UsageError):  # somebody else is sending it
                yield from forward(self._spool, self._client.submit)

    def _keep(self, result: _Result) -> None:
        if self._places is not None and result.stream is not None:
            with self._lock:
                place = self._places.of(result.picture)
            write_named(place, result.stream.to_bytes())

    def _ask(self, pixels: Picture, result: _Result) -> None:
        assert result.stream is not None
        question = Question(result.stream.to_bytes(), self._prompt, self._max_new_tokens)
        try:
            if self._offline is not None:
                raise self._offline  # the rest of a batch does not wait for it again
            result.stream, result.answer = self._client.ask_pixels(pixels, result.stream, question)
        except RETRIED as error:
            if isinstance(error, ServerUnreachable) and self._batch:
                self._offline = error
            result.error, result.later = error, question


def _report(talk: Output, result: _Result, alone: bool) -> None:
    if talk.json:
        talk.record(_record(result))
    if result.error is not None:
        talk.complain(result.error, result.picture)
        if result.spooled:
            talk.say(f"{result.picture}: kept in the spool; send it with: edge_client spool flush")
        return
    if result.answer is not None:
        if not talk.json:
            text = result.answer.answer
            talk.data(text if alone else f"{result.picture}\t{' '.join(text.split())}")
        image, times = result.answer.image, result.answer.timings_ms
        if alone:
            talk.say(
                f"{result.picture}: {image.width}x{image.height} sent as {image.bytes} bytes "
                f"({image.bpp:.3f} bpp); {result.answer.model} saw the {result.answer.view} and "
                f"took {times.total:.0f} ms"
            )
    elif result.stream is not None and not talk.json:
        talk.data(describe(result.picture, result.stream))


def _record(result: _Result) -> dict[str, Any]:
    found: dict[str, Any] = {"picture": result.picture}
    if result.stream is not None:
        found["stream"] = record_of(result.stream)
    if result.answer is not None:
        found |= result.answer.model_dump()
    if result.error is not None:
        found |= {"error": error_record(result.error), "spooled": result.spooled}
    return found


def _watch(talk: Output, sender: _Sender, folder: Path) -> None:
    from edge_client.pictures.watch import new_pictures

    talk.say(f"watching {folder}: new pictures are sent as they come; end with Ctrl-C")
    sender.end_batch()
    for picture in new_pictures(folder):
        result = sender.send(str(picture))
        sender.keep_for_later(result)
        _report(talk, result, alone=False)
        if result.answer is not None:
            for sent in sender.catch_up():
                report(talk, sent)
