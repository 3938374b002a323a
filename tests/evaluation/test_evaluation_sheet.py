"""What the sheet shows at a budget, and that it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.commands.pictures.sheet import OURS, best_fit, photograph
from shared.bundle import Bundle


@pytest.fixture(scope="module")
def cotam(bundle: Bundle) -> CotamCodec:
    return CotamCodec(bundle)


@pytest.fixture(scope="module")
def picture() -> Picture:
    return photograph()


@pytest.mark.parametrize("name", [OURS, "JPEG", "WebP", "AVIF"])
def test_a_picture_at_a_budget_keeps_to_it(cotam: CotamCodec, picture: Picture, name: str) -> None:
    size, decoded = best_fit(cotam, name, picture, 4000)
    assert 2000 < size <= 4000
    assert decoded is not None
    assert decoded.shape == picture.shape


@pytest.mark.parametrize("name", [OURS, "JPEG", "WebP", "AVIF"])
def test_a_budget_below_the_smallest_file_has_no_picture(
    cotam: CotamCodec, picture: Picture, name: str
) -> None:
    size, decoded = best_fit(cotam, name, picture, 40)
    assert size > 40
    assert decoded is None


def test_the_command_draws_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.__main__ import main

    page = tmp_path / "results.md"
    words = ["evaluation", "sheet", "--budgets", "3000", "--report", str(page)]
    monkeypatch.setattr("sys.argv", words)
    main()
    assert "`python -m evaluation sheet --budgets 3000`" in page.read_text()
    with Image.open(tmp_path / "img" / "sheet.png") as image:
        assert image.width > 600


def test_print_is_drawn_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.__main__ import main

    page = tmp_path / "results.md"
    monkeypatch.setattr("evaluation.commands.pictures.page_sheet.SIDE", 192)
    monkeypatch.setattr("sys.argv", ["evaluation", "page_sheet", "--report", str(page)])
    main()
    assert "each in the best file within 3500 bytes" in page.read_text()
    with Image.open(tmp_path / "img" / "page_sheet.png") as image:
        assert image.height > image.width > 600
