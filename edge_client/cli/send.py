"""`edge_client send`: a question about pictures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_client.batch import ordered_map
from edge_client.cli import options
from edge_client.cli.coding import Places, named_source
from edge_client.cli.console.outcome import Outcome, report_outcome
from edge_client.cli.console.output import Output
from edge_client.cli.spool import report
from edge_client.pictures.inputs import STDIN, expand, is_clip
from edge_client.pictures.suffixes import CLIP_SUFFIXES, SUFFIXES
from edge_client.server.query import check_asked
from edge_client.spool.flush import Sent, send_waiting
from edge_client.spool.store import Spool, SpoolUnusable
from shared.bitstream import SUFFIX, Bitstream
from shared.errors import CotamError, ServerUnreachable, UsageError, batch_exit_code
from shared.files import write_named
from shared.frames import SUFFIX as CLIP_SUFFIX
from shared.prompt import check_pictures

if TYPE_CHECKING:
    from edge_client.coding.clip_coder import ClipOptions
    from edge_client.server.camera import CameraFrame
    from edge_client.server.client import EdgeClient
    from edge_client.server.sources import Stream, Subject


def send(
    *,
    picture: options.Pictures = None,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question, last.")],
    together: Annotated[
        bool, typer.Option("--together", help="One question about all pictures at once.")
    ] = False,
    quality: options.Quality = None,
    budget: options.Budget = None,
    resolution: options.ResolutionText = "model",
    no_guidance: options.NoGuidance = False,
    frames: options.Frames = None,
    on_change: options.OnChange = False,
    rate: options.Rate = None,
    key_every: options.KeyEvery = 60,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help="Longest answer in tokens.")
    ] = None,
    ask_back: options.AskBackFlag = None,
    target_confidence: options.TargetConfidence = None,
    focus: options.FocusFlag = None,
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
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="DEVICE|CLIP|DIR",
            help="Then ask about its frames as they come, sending of each what changed: one a "
            "second, or as --frames says; of DIR, new pictures.",
        ),
    ] = None,
    no_spool: Annotated[
        bool, typer.Option("--no-spool", help="Do not keep questions that cannot be sent now.")
    ] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Code pictures or clips, send them with a question, print the answers.

    What cannot be sent now is kept in the spool, coded, for `edge_client spool flush`.

    [bold]Examples[/bold]

    edge_client send street.png "how many cars?"

    edge_client send yard/ "gate*.jpg" "is a person there?" --json | jq -r .answer

    edge_client send photo.jpg "what does the sign say?" --budget 1500B

    edge_client send before.jpg after.jpg "what has changed?" --together

    edge_client send --ask-back yard.jpg "how many cars?"

    edge_client send --watch /var/camera "is the door open?"

    edge_client send gate.mp4 "did anyone come in?" --frames 8

    edge_client send --camera /dev/video0 --on-change "is the door open?"
    """
    size = options.parse_resolution(resolution)
    most = options.parse_budget(budget, quality)
    resolved = options.resolve_options(server, api_key, bundle, ask_back, focus)
    wish = options.wish_of(resolved, target_confidence)
    check_asked(prompt, max_new_tokens)
    _check_question(prompt)
    clip = options.parse_clip(frames, on_change, key_every, rate, most, quality)
    folders = frames is not None or on_change
    pictures = expand(picture or [], clips=folders)
    if not pictures and watch is None and camera is None:
        raise UsageError("no picture is named", hint='edge_client send photo.jpg "how many cars?"')
    if together:
        check_pictures(len(pictures), UsageError)
    if together and (watch is not None or camera is not None):
        raise UsageError(
            "--together with --watch or --camera: pictures that come alone are asked about alone"
        )
    if camera is not None and (watch is not None or most is not None or rate is not None):
        raise UsageError(
            "--camera goes with no --watch, --budget or --rate", hint="--quality sets its size"
        )
    if watch is not None and not watch.is_dir():
        raise UsageError(f"{watch} is no folder to watch")
    if focus and no_guidance:
        raise UsageError("--focus is a form of guidance", hint="leave --no-guidance out")
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
        focus=resolved.settings.focus == "yes",
        timeouts=Timeouts(connect_timeout, send_timeout, answer_timeout, pool_timeout),
        retries=Retries(retries),
        ask_back=wish,
    ) as client:
        places = Places(pictures, save_bitstream) if save_bitstream else None
        spool = None if no_spool else options.open_spool()
        source_of = partial(_source, folders=folders, clip=clip)
        sender = _Sender(client, prompt, max_new_tokens, spool, places, dry_run, source_of)
        errors = []
        questions = [tuple(pictures)] if together else [(picture,) for picture in pictures]
        with talk.progress(len(questions)):
            for sent in ordered_map(sender.send, questions, concurrency):
                talk.advance()
                sender.keep_for_later(sent)
                alone = len(questions) == 1 and watch is None and camera is None
                report_outcome(talk, sent, alone=alone)
                errors += [sent.error] if sent.error else []
        if watch is not None:
            _watch(talk, sender, watch)
        if camera is not None:
            from edge_client.cli.camera import camera_frames

            sender.end_batch()
            for name, frame in camera_frames(camera, frames, on_change, client):
                errors += _ask_as_it_comes(talk, sender, name, frame)
    if errors:
        raise typer.Exit(batch_exit_code(errors, sender.asked))


def _source(picture: str, folders: bool, clip: ClipOptions) -> tuple[Subject, str]:
    """What a picture or clip of the command line is read from, and what messages call it."""
    from edge_client.coding.clip_coder import ClipSource

    return (
        (ClipSource(picture, clip), picture) if is_clip(picture, folders) else named_source(picture)
    )


def _check_question(prompt: str) -> None:
    """Refuses what was meant as a picture: without a question, the last of them would be taken."""
    spaced = any(letter.isspace() for letter in prompt)
    suffixes = {*SUFFIXES, *CLIP_SUFFIXES, SUFFIX, CLIP_SUFFIX}
    named = not spaced and Path(prompt).suffix.lower() in suffixes
    if prompt == STDIN or named or os.path.exists(prompt):  # noqa: PTH110 -- never an error
        raise UsageError(
            f"the question is missing: {prompt} is a picture or folder",
            hint=f'it comes last: edge_client send {prompt} "how many cars?"',
        )


class _Sender:
    """One question after the other, or several at once: ask, save the streams, spool."""

    def __init__(
        self,
        client: EdgeClient,
        prompt: str,
        max_new_tokens: int | None,
        spool: Spool | None,
        places: Places | None,
        dry_run: bool,
        source_of: Callable[[str], tuple[Subject, str]],
    ) -> None:
        self._source_of = source_of
        self._batch = True
        self._client = client
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._spool = spool
        self._places = places
        self._dry_run = dry_run
        self._lock = threading.Lock()
        self.asked = 0
        self._offline: ServerUnreachable | None = None

    def end_batch(self) -> None:
        """From here on pictures come one by one, and each finds out whether the server is there."""
        self._batch, self._offline = False, None

    def send(self, pictures: tuple[str, ...], data: bytes | CameraFrame | None = None) -> Outcome:
        """The whole way of the pictures of a question; errors are returned.

        data: the only one, if it is there: what is in its file, or a camera's frame.
        """
        from edge_client.server.exchange import Attempt

        with self._lock:
            self.asked += 1
        (source, name), *more = (self._source_of(picture) for picture in pictures)
        others = [other for other, _ in more]
        attempt = Attempt(data or source, self._prompt, self._max_new_tokens, name, others)
        offline = self._offline  # the rest of a batch does not wait for the server again
        self._client.attempt(attempt, send=not self._dry_run and offline is None)
        if offline is not None and attempt.error is None:
            attempt.error = offline
        if self._batch and isinstance(attempt.error, ServerUnreachable):
            self._offline = attempt.error
        sent = Outcome(pictures, attempt, attempt.error)
        try:
            for picture, stream in zip(pictures, attempt.streams, strict=False):
                self._save(picture, stream)
        except CotamError as error:
            sent.error = error
        return sent

    def keep_for_later(self, sent: Outcome) -> None:
        """Put what could not be sent into the spool. Called in the order of the pictures."""
        query = sent.attempt.query
        if self._spool is None or query is None or not sent.attempt.can_wait:
            return
        try:
            try:
                self._spool.add(query, sent.name, provisional=sent.provisional)
            except SpoolUnusable:
                self._spool = Spool.temporary()  # better there than lost
                self._spool.add(query, sent.name, provisional=sent.provisional)
            sent.spool = self._spool.root
        except CotamError as error:
            sent.error = error

    def catch_up(self) -> Iterator[Sent]:
        """Send what waits in the spool, now that the server is there."""
        with suppress(UsageError):  # somebody else is sending it, or it is out of reach
            if self._spool is not None and self._spool.entries():
                yield from send_waiting(self._spool, self._client.submit)

    def _save(self, picture: str, stream: Stream) -> None:
        if self._places is not None:
            suffix = SUFFIX if isinstance(stream, Bitstream) else CLIP_SUFFIX
            with self._lock:
                place = self._places.of(picture, suffix)
            write_named(place, stream.to_bytes())


def _watch(talk: Output, sender: _Sender, folder: Path) -> None:
    from edge_client.pictures.watch import new_pictures

    talk.say(f"watching {folder}: new pictures are sent as they come; end with Ctrl-C")
    sender.end_batch()
    for picture, data in new_pictures(folder):
        _ask_as_it_comes(talk, sender, str(picture), data)


def _ask_as_it_comes(
    talk: Output, sender: _Sender, name: str, data: bytes | CameraFrame
) -> list[CotamError]:
    """Ask about one picture, and about what waits once the server is there; its error, if any."""
    sent = sender.send((name,), data)
    sender.keep_for_later(sent)
    report_outcome(talk, sent, alone=False)
    if sent.attempt.answer is not None:
        for waiting in sender.catch_up():
            report(talk, waiting)
    return [sent.error] if sent.error else []
