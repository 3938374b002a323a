"""What became of a question, said to whoever asked it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_client.cli import options
from edge_client.cli.coding import describe, record_of
from edge_client.cli.console.output import Output, error_record

if TYPE_CHECKING:
    from pathlib import Path

    from edge_client.server.exchange import Attempt
    from shared.errors import CotamError
    from shared.schemas import QueryResponse


@dataclass
class Outcome:
    """What became of one question. spool: where it waits, if it does. error: the attempt's, or that
    of writing its streams."""

    pictures: tuple[str, ...]
    attempt: Attempt
    error: CotamError | None
    spool: Path | None = None

    @property
    def name(self) -> str:
        """What messages call its pictures."""
        return ", ".join(self.pictures)

    @property
    def provisional(self) -> str:
        """The answer that stands until more of the picture can be sent."""
        lost, answer = self.attempt.lost, self.attempt.answer
        return answer.answer if lost is not None and answer is not None else ""


def report_outcome(talk: Output, sent: Outcome, alone: bool) -> None:
    """Say the answer, or the error; alone: the only question, of which more is said."""
    answer = sent.attempt.answer
    if talk.json:
        talk.record(_record(sent))
    if sent.error is not None:
        talk.complain(sent.error, sent.name)
        _say_where(talk, sent)
        return
    if answer is not None:
        if not talk.json:
            text = answer.answer
            talk.data(text if alone else f"{sent.name}\t{' '.join(text.split())}")
        if alone:
            talk.say(
                f"{sent.name}: {_images(answer, sent.attempt.rounds)}; {answer.model} saw the "
                f"{answer.view} and took {answer.timings_ms.total:.0f} ms{_sure(answer)}"
            )
        if sent.attempt.lost is not None:
            talk.say(
                f"{sent.name}: the answer is provisional, for more of the picture could not be "
                f"sent: {sent.attempt.lost}"
            )
            _say_where(talk, sent)
    elif not talk.json:
        for picture, stream in zip(sent.pictures, sent.attempt.streams, strict=False):
            talk.data(describe(picture, stream))


def _say_where(talk: Output, sent: Outcome) -> None:
    """Say where a question waits, if it does."""
    if sent.spool is None:
        return
    usual = options.open_spool().root
    place, setting = "the spool", ""
    if sent.spool != usual:
        place = f"{sent.spool}, for {usual} cannot be used"
        setting = f"COTAM_SPOOL={sent.spool} "
    talk.say(f"{sent.name}: kept in {place}; send it with: {setting}edge_client spool flush")


def _images(answer: QueryResponse, rounds: list[int]) -> str:
    """What was sent for an answer."""
    image = answer.image
    if answer.images:
        size = sum(each.bytes for each in answer.images)
        return f"{len(answer.images)} pictures sent as {size} bytes"
    in_bytes = f"{image.bytes} bytes"
    if len(rounds) > 1:
        first, second = rounds
        in_bytes = f"{first} bytes, then {second} that were asked for"
    return f"{image.width}x{image.height} sent as {in_bytes} ({image.bpp:.3f} bpp)"


def _sure(answer: QueryResponse) -> str:
    if answer.confidence is None:
        return ""
    return f"; right with a probability of {answer.confidence:.2f}"


def _record(sent: Outcome) -> dict[str, Any]:
    streams = [record_of(stream) for stream in sent.attempt.streams]
    record: dict[str, Any] = {"picture": sent.name}
    if len(sent.pictures) > 1:
        record = {"pictures": list(sent.pictures), "streams": streams}
    elif streams:
        record["stream"] = streams[0]
    if sent.attempt.answer is not None:
        record |= sent.attempt.answer.model_dump()
        if len(sent.attempt.rounds) > 1 or sent.attempt.lost is not None:
            record["rounds"] = sent.attempt.rounds
    if sent.error is not None:
        record |= {"error": error_record(sent.error), "spooled": sent.spool is not None}
    return record
