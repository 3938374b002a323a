"""A page is a pure function of its seed, and its lines are all that is printed on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scenes import Backgrounds
from scenes.__main__ import main
from scenes.pages import KINDS, Fonts, Page, render_page
from scenes.pages.fonts import FAMILIES, HELD_OUT
from scenes.pages.render import PAGE_SPLITS, _generator

# If one of these changes, every published number changes: a new version is what is wanted then.
FACTS = {
    ("test", 0): "265bbb1c59c53b58",
    ("test", 12): "51b64b1c8730a58e",
    ("val", 4): "1a98a556c05e1c1a",
    ("train", 123_456): "f5ba7f0ef02b7c02",
}


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts.pinned()


@pytest.fixture(scope="module")
def pages(fonts: Fonts) -> list[Page]:
    """Each kind twice, in two shapes."""
    return [
        render_page("test", index, fonts, Backgrounds(), size)
        for index, size in zip(range(2 * len(KINDS)), _shapes(), strict=False)
    ]


def _shapes() -> Iterator[tuple[int, int]]:
    while True:
        yield from ((320, 240), (240, 320), (384, 384))


def facts(page: Page) -> str:
    """A digest of what is true of a page, places to about four pixels."""
    lines = [(line.text, *(round(v / 4) for v in line.box)) for line in page.lines]
    asked = [(question.prompt, question.answer) for question in page.questions]
    text = repr((page.kind, page.view, lines, asked))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("split", "index"), FACTS)
def test_what_is_true_of_a_page_never_changes(split: str, index: int, fonts: Fonts) -> None:
    page = render_page(split, index, fonts, Backgrounds(), (384, 384))  # type: ignore[arg-type]
    assert facts(page) == FACTS[split, index]


def test_a_page_does_not_depend_on_what_was_drawn_before(fonts: Fonts) -> None:
    backgrounds = Backgrounds.builtin()
    alone = render_page("test", 1, Fonts.pinned(), Backgrounds.builtin(), (256, 256))
    for index in (3, 2, 1):
        again = render_page("test", index, fonts, backgrounds, (256, 256))
    assert np.array_equal(alone.picture, again.picture)
    assert (alone.lines, alone.questions) == (again.lines, again.questions)


def test_no_two_pages_share_their_random_numbers() -> None:
    first = {_generator(s, i).integers(2**63) for s in PAGE_SPLITS for i in range(500)}
    assert len(first) == 500 * len(PAGE_SPLITS)


def test_seventeen_pages_in_a_row_are_of_seventeen_kinds(pages: list[Page]) -> None:
    assert [page.kind for page in pages[: len(KINDS)]] == list(KINDS)
    assert {page.view for page in pages} == {"flat", "photographed"}


def test_every_line_is_inside_its_picture(pages: list[Page]) -> None:
    for page in pages:
        height, width = page.picture.shape[:2]
        assert page.lines, page.kind
        for line in page.lines:
            left, top, right, bottom = line.box
            assert left >= -1, (page.kind, line)
            assert top >= -1, (page.kind, line)
            assert right <= width + 1, (page.kind, line)
            assert bottom <= height + 1, (page.kind, line)
            assert line.text == line.text.strip() != ""


def test_print_is_of_the_sizes_that_pages_have(pages: list[Page]) -> None:
    sizes = [line.size for page in pages for line in page.lines]
    assert min(sizes) > 4
    assert max(sizes) < 75
    flat = [line.size for page in pages if page.view == "flat" for line in page.lines]
    assert min(flat) >= 8
    assert max(flat) <= 60


def test_there_is_ink_where_a_line_is_and_lines_do_not_cover_each_other(pages: list[Page]) -> None:
    for page in pages:
        grey = page.picture.mean(axis=2)
        boxes = []
        for line in page.lines:
            left, top, right, bottom = (round(v) for v in line.box)
            window = grey[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
            assert np.ptp(window) > 12, (page.kind, line)
            boxes.append(line.box)
        if page.view == "flat":
            overlaps = [
                (page.kind, page.lines[i].text, page.lines[j].text)
                for i, a in enumerate(boxes)
                for j, b in enumerate(boxes[:i])
                if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
            ]
            assert not overlaps


def test_answers_are_printed(pages: list[Page]) -> None:
    for page in pages:
        text = " ".join(line.text for line in page.lines).casefold()
        assert page.questions, page.kind
        for question in page.questions:
            assert question.answer.casefold() in text, (page.kind, question)


def test_only_the_test_split_prints_held_out_fonts(fonts: Fonts) -> None:
    assert len(FAMILIES) >= 30
    assert set(FAMILIES) > HELD_OUT
    rest = fonts.without(HELD_OUT)
    assert {face.name for face in rest.typefaces} == set(FAMILIES) - HELD_OUT
    assert {face.role for face in rest.typefaces} == {face.role for face in fonts.typefaces}
    assert rest.digest != fonts.digest


def test_without_packages_pages_print_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenes.pages.fonts._packaged", lambda family: None)
    with pytest.raises(ValueError, match=r"44 of 44 fonts are missing .*cotam\[pages\]"):
        Fonts.pinned()
    fonts = Fonts.installed()
    assert {face.name for face in fonts.typefaces} >= {"DejaVuSansMono", "pillow"}
    page = render_page("test", 13, fonts, Backgrounds(), (256, 256))
    assert page.kind == "terminal"
    assert len(page.lines) > 5


@pytest.mark.parametrize(
    ("split", "index", "size", "message"),
    [
        ("tset", 0, (256, 256), "split"),
        ("test", -1, (256, 256), "negative"),
        ("test", 0, (256, 127), "128 pixels"),
    ],
)
def test_what_cannot_be_drawn(
    split: str, index: int, size: tuple[int, int], message: str, fonts: Fonts
) -> None:
    with pytest.raises(ValueError, match=message):
        render_page(split, index, fonts, Backgrounds(), size)  # type: ignore[arg-type]


def test_files_hold_the_pages_and_their_print(tmp_path: Path, fonts: Fonts) -> None:
    words = ["render", "--world", "pages", "--count", "2", "--size", "200x160"]
    main([*words, "--out", str(tmp_path)])
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    for index, line in enumerate(lines):
        page = render_page("test", index, fonts, Backgrounds.builtin(), (200, 160))
        assert (line["image"], line["kind"]) == (f"test-{index:06d}.png", page.kind)
        assert [entry["text"] for entry in line["lines"]] == [entry.text for entry in page.lines]
        own = [q for q in asked if q["image"] == line["image"]]
        assert [(q["text"], q["answer"], q["category"]) for q in own] == [
            (q.prompt, q.answer, page.kind) for q in page.questions
        ]
    assert json.loads((tmp_path / "scenes.json").read_text())["fonts"] == fonts.digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "64x64"], "at least 128 pixels"),
        (["--version", "1"], "leave it out for others"),
        (["--split", "train-signs"], "split must be one of train, val, test"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["render", "--world", "pages", "--count", "1", "--out", str(tmp_path / "o"), *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
