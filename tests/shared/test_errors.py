"""The error tree: drawn as it is, every code its own, every class found again across the wire."""

from __future__ import annotations

import re

import pytest

from shared import errors
from shared.errors import (
    EXIT_CODE,
    HTTP_STATUS,
    CotamError,
    DecoderMismatch,
    KeyRefused,
    PictureTooLarge,
    PictureUnreadable,
    StreamCorrupt,
    error_of,
    exit_code,
    http_status,
)
from shared.schemas import Problem, error_from, problem_of

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CotamError)
]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def test_codes_are_unique_and_own() -> None:
    codes = [vars(kind)["code"] for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_the_drawn_tree_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    (?P<lead>[| `-]*)(?P<name>[A-Z]\w+)", line)
        if match:
            depth = len(match["lead"]) // 4
            above[depth] = match["name"]
            drawn[match["name"]] = above[depth - 1] if depth else "Exception"
    assert drawn == {kind.__name__: kind.__mro__[1].__name__ for kind in CLASSES}


@every_class
def test_every_class_has_a_status_and_an_exit_code(kind: type[CotamError]) -> None:
    error = kind("what went wrong")
    ancestors = [c for c in kind.__mro__ if issubclass(c, CotamError)]
    assert http_status(error) == next(HTTP_STATUS[c] for c in ancestors if c in HTTP_STATUS)
    assert exit_code(error) == next(EXIT_CODE[c] for c in ancestors if c in EXIT_CODE)
    assert 400 <= http_status(error) <= 599
    assert 1 <= exit_code(error) <= 6


@every_class
def test_every_class_comes_back_from_a_problem(kind: type[CotamError]) -> None:
    sent = kind("what went wrong", hint="what to do")
    problem = problem_of(sent, "request-7")
    assert problem.status == http_status(sent)
    assert problem.type.endswith(kind.code)
    received = error_from(Problem.model_validate_json(problem.model_dump_json()))
    assert type(received) is kind
    assert str(received) == "what went wrong (what to do)"
    assert (received.message, received.hint) == (sent.message, sent.hint)
    assert received.request_id == "request-7"


def test_an_unknown_code_is_still_an_error() -> None:
    received = error_of("of_a_later_version", "what went wrong")
    assert type(received) is CotamError
    assert str(received) == "what went wrong"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (PictureTooLarge, 413, 3),
        (PictureUnreadable, 400, 3),
        (StreamCorrupt, 400, 1),
        (DecoderMismatch, 422, 1),
        (KeyRefused, 403, 5),
        (errors.BundleMissing, 500, 2),
        (errors.BundleUnknown, 409, 1),
        (errors.Overloaded, 503, 6),
        (errors.ServerUnreachable, 502, 4),
        (errors.UsageError, 400, 2),
    ],
)
def test_rows_that_users_rely_on(kind: type[CotamError], status: int, code: int) -> None:
    assert http_status(kind("")) == status
    assert exit_code(kind("")) == code


def test_a_class_without_a_row_takes_that_of_its_ancestor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(HTTP_STATUS, PictureTooLarge)
    assert http_status(PictureTooLarge("")) == HTTP_STATUS[errors.PictureError]
