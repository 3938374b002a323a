"""The road of a question, without a connection.

    picture --look: what is worth sending?--> scale, code --> stream --send--> answer
                                                    ^            |
                                                    |            | refused: its bundle is not there
                                                    `---- another bundle

In the manner of httpx's auth flow: a generator yields what is to be done and is sent what came of
it, or has thrown in what went wrong. Both clients drive it. A picture is scaled from its source
each time it is coded, for another bundle may want another resolution.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx

from edge_client.coding.clip_coder import ClipCoder, ClipSource
from edge_client.coding.picture_coder import PictureCoder
from edge_client.server.bundles import choose_bundle
from edge_client.server.camera import CameraFrame
from edge_client.server.connection import Connection
from edge_client.server.protocol import answer_of, cells_of, check_status
from edge_client.server.query import AskBack, Query, check_asked
from edge_client.server.retries import RETRIED, Retries
from edge_client.server.served import Served
from edge_client.server.sources import Stream, Subject, settle
from shared.errors import (
    BaseUnknown,
    BundleUnknown,
    CotamError,
    NotFound,
    NotReady,
    Overloaded,
    RateLimited,
    ServerUnreachable,
    UsageError,
)
from shared.prompt import check_pictures
from shared.schemas import Need, QueryResponse

if TYPE_CHECKING:
    from edge_client.coding.continuing import CodedPicture

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a query. Gives its httpx.Response; with `grows`, that of a success is not read yet."""

    query: Query
    grows: bool = False


@dataclass(frozen=True)
class Enhance:
    """Send what a provisional answer asks for. Gives its httpx.Response."""

    handle: str
    enhancement: bytes


@dataclass(frozen=True)
class Look:
    """Ask what the server serves. Gives its httpx.Response."""


@dataclass(frozen=True)
class Wait:
    """Do nothing for some seconds."""

    seconds: float


Work = Callable[[], Any]
"""What takes long, coding or fetching. Gives what it returns."""

Steps = Generator[Send | Enhance | Look | Wait | Work, Any, T]


@dataclass
class Attempt:
    """A question and how far it came.

    subject: a picture, or the stream of one, which is sent as it is. name: what messages call it.
    others: what is shown after it, with the same question.
    streams, query: what was coded and sent last; none where it did not come to that.
    rounds: bytes of each request's pictures. coded: the picture, until its answer is there. lost:
    why an answer stayed provisional that would have been asked for more.
    """

    subject: Subject
    prompt: str
    max_new_tokens: int | None = None
    name: str = ""
    others: Sequence[Subject] = ()
    streams: Sequence[Stream] = ()
    query: Query | None = None
    rounds: list[int] = field(default_factory=list)
    coded: CodedPicture | None = None
    lost: CotamError | None = None
    answer: QueryResponse | None = None
    error: CotamError | None = None

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All that the question is about."""
        return (self.subject, *self.others)

    @property
    def stream(self) -> Stream | None:
        """What was coded of the picture, or of the first of several."""
        return self.streams[0] if self.streams else None

    @property
    def can_wait(self) -> bool:
        """Whether the same query may be answered later, or better than it was."""
        if self.query is None:
            return False
        if self.error is None and not self.query.enhancement:
            return False
        return isinstance(self.error or self.lost, RETRIED)

    @property
    def outcome(self) -> QueryResponse | CotamError:
        """The answer or the error."""
        outcome = self.error or self.answer
        assert outcome is not None
        return outcome

    def result(self) -> QueryResponse:
        """The answer. Raises the error."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


def attempt_of(
    picture: Subject | Sequence[Subject], prompt: str, max_new_tokens: int | None
) -> Attempt:
    """A question about a picture, or about a list of them. Raises UsageError for an empty one."""
    if not isinstance(picture, (list, tuple)):
        return Attempt(cast(Subject, picture), prompt, max_new_tokens)
    check_pictures(len(picture), UsageError)
    first, *others = picture
    return Attempt(first, prompt, max_new_tokens, others=others)


@dataclass(frozen=True)
class Exchange:
    """What can be asked of a server. `ask` and `code` leave errors of our tree in the attempt.

    ask_back: None where answers are taken as they are.
    """

    coder: PictureCoder
    connection: Connection
    retries: Retries
    served: Served
    ask_back: AskBack | None = None

    def ask(self, attempt: Attempt) -> Steps[Attempt]:
        """The whole road, to the answer."""
        try:
            yield from self._look_and_code(attempt)
            attempt.answer = yield from self._send(attempt, answer_of)
            if isinstance(attempt.subject, CameraFrame):
                attempt.subject.camera.answered(attempt.answer.image_id)
            self.served.compare(attempt.answer)
            if attempt.answer.need is not None and attempt.coded is not None:
                yield from self._enhance(attempt, attempt.coded, attempt.answer.need)
        except CotamError as error:
            attempt.error = error
            if isinstance(attempt.subject, CameraFrame) and attempt.can_wait:
                yield from self._stand_alone(attempt, attempt.subject)
        attempt.coded = None
        return attempt

    def code(self, attempt: Attempt) -> Steps[Attempt]:
        """The road as far as it goes without a server."""
        try:
            self.follow()
            yield from self._code(attempt)
        except CotamError as error:
            attempt.error = error
        return attempt

    def open(self, attempt: Attempt) -> Steps[httpx.Response]:
        """The whole road, to an answer that begins to come. Raises the errors."""
        yield from self._look_and_code(attempt)
        return (yield from self._send(attempt, check_status, grows=True))

    def submit(self, query: Query) -> Steps[QueryResponse]:
        """Send what is coded already; again, under the same key, where that may help."""
        answer = yield from self._patiently(Send(query), answer_of)
        if answer.need is None or not query.enhancement:
            return answer
        try:
            enhance = Enhance(answer.need.handle, query.enhancement)
            return (yield from self._patiently(enhance, answer_of))
        except RETRIED:
            raise
        except CotamError:
            return answer  # nobody waits there any more: the provisional one stands

    def agree(self) -> Steps[None]:
        """Code with a bundle from now on that the server takes."""
        work = partial(choose_bundle, self.connection, self.coder.bundle)
        self.coder.use((yield from self._patiently(work, lambda bundle: bundle)))

    def follow(self) -> None:
        """Code at the resolution that the server asked for last, where it may."""
        if self.coder.follows_server:
            self.coder.served_resolution = self.served.resolution

    def _look_and_code(self, attempt: Attempt) -> Steps[None]:
        """Code at the resolution that the server asks for.

        Where it cannot be reached, code all the same, for the question can wait, and raise that.
        """
        yield from self._settle(attempt)
        unreachable: CotamError | None = None
        if self._looks_first(attempt):
            try:
                yield from self._patiently(Look(), self.served.keep)
            except (NotReady, Overloaded, RateLimited, ServerUnreachable) as error:
                unreachable = error
            except CotamError:
                pass  # it does not say; what is wrong with the question, it will
        self.follow()
        yield from self._code(attempt)
        if unreachable is not None:
            raise unreachable

    def _enhance(self, attempt: Attempt, coded: CodedPicture, need: Need) -> Steps[None]:
        """Send what an answer asks for; where that fails, the provisional one stands."""
        assert attempt.query is not None
        try:
            cells = cells_of(need, coded.stream)
            enhancement = yield partial(coded.enhancement, cells, need.quality)
            attempt.query = replace(attempt.query, enhancement=enhancement)
            step = Enhance(need.handle, enhancement)
            attempt.answer = yield from self._patiently(step, answer_of)
            attempt.rounds.append(len(enhancement))
        except CotamError as error:
            attempt.lost = error

    def _looks_first(self, attempt: Attempt) -> bool:
        coded_already = all(isinstance(subject, Stream) for subject in attempt.subjects)
        return self.coder.follows_server and not coded_already and not self.served.known

    def _settle(self, attempt: Attempt) -> Steps[None]:
        """Make pictures of its subjects that can be read again, or streams."""
        check_asked(attempt.prompt, attempt.max_new_tokens)
        check_pictures(len(attempt.subjects), UsageError)
        attempt.subject = yield partial(settle, attempt.subject, attempt.name)
        others = []
        for subject in attempt.others:
            others.append((yield partial(settle, subject, "")))
        attempt.others = others

    def _code(self, attempt: Attempt) -> Steps[None]:
        yield from self._settle(attempt)
        streams: list[Stream] = []
        names = [attempt.name, *[""] * len(attempt.others)]
        for subject, name in zip(attempt.subjects, names, strict=True):
            keywords = {"name": name, "question": attempt.prompt}
            if isinstance(subject, Stream):
                streams.append(subject)
            elif isinstance(subject, ClipSource):
                streams.append((yield partial(ClipCoder(self.coder, subject.options), subject)))
            elif isinstance(subject, CameraFrame):
                streams.append((yield partial(subject.camera.code, self.coder, subject, name)))
            elif self._keeps(attempt):
                attempt.coded = yield partial(self.coder.code, subject, **keywords)
                streams.append(attempt.coded.stream)
            else:
                streams.append((yield partial(self.coder.encode, subject, **keywords)))
        attempt.streams = streams
        first, *others = (stream.to_bytes() for stream in streams)
        attempt.query = Query(
            first,
            attempt.prompt,
            attempt.max_new_tokens,
            others=tuple(others),
            ask_back=self.ask_back if attempt.coded is not None else None,
        )
        if isinstance(attempt.subject, CameraFrame):
            continues = attempt.subject.camera.image_id
            attempt.query = replace(attempt.query, keep=True, continues=continues)
        attempt.rounds = [len(first) + sum(map(len, others))]

    def _keeps(self, attempt: Attempt) -> bool:
        """Whether a picture is kept for what may be asked for: only one that is alone is."""
        return self.ask_back is not None and not attempt.others

    def _send(
        self, attempt: Attempt, read: Callable[[httpx.Response], T], grows: bool = False
    ) -> Steps[T]:
        assert attempt.query is not None
        try:
            return (yield from self._patiently(Send(attempt.query, grows), read))
        except BundleUnknown as refused:
            fixed = any(isinstance(subject, Stream) for subject in attempt.subjects)
            if fixed or not self.coder.any_bundle:
                raise
            yield from self._agree_after(refused, attempt.stream)
        except BaseUnknown:
            if not isinstance(attempt.subject, CameraFrame):
                raise
            attempt.subject.camera.forget()
        yield from self._code(attempt)
        return (yield from self._patiently(Send(attempt.query, grows), read))

    def _stand_alone(self, attempt: Attempt, frame: CameraFrame) -> Steps[None]:
        """Code a camera's frame so that it can be answered later, when nothing else is kept."""
        frame.camera.forget()
        yield from self._code(attempt)
        frame.camera.forget()
        assert attempt.query is not None
        attempt.query = replace(attempt.query, keep=False, continues="")

    def _agree_after(self, refused: BundleUnknown, stream: Stream | None) -> Steps[None]:
        if stream is not None and stream.codec_id != self.coder.bundle.codec_id:
            return  # another thread was refused as well, and has agreed
        try:
            yield from self.agree()
        except (BundleUnknown, NotFound) as error:  # the refusal says more
            raise refused from error

    def _patiently(self, step: Send | Enhance | Look | Work, read: Callable[[Any], T]) -> Steps[T]:
        """A step, done again after a while where that may help; `read` makes its result."""
        failures = 0
        while True:
            try:
                try:
                    return read((yield step))
                except httpx.RequestError as error:
                    raise self.connection.unreachable(error) from error
            except CotamError as error:
                failures += 1
                wait = self.retries.wait(failures, error, random.random())
                if wait is None:
                    raise
            yield Wait(wait)
