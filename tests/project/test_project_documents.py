"""What documents say of bundles, of the format and of defaults is what code and manifests say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.bitstream import VERSION
from shared.bundle import Bundle, embedded_bundles
from shared.level_map import USUAL_FORM

ROOT = Path(__file__).parents[2]
LOGS = ("CHANGELOG.md", "docs/notes.md", "docs/decisions/")
"""They say what was so at their time."""

TEXTS = {
    name: " ".join(path.read_text(encoding="utf-8").split())
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if not (name := path.relative_to(ROOT).as_posix()).startswith(LOGS)
}
NAMED_ID = re.compile(r"\b(?:bundle|codec)(?: id)?[ :`*]+([0-9a-f]{8})\b")


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {bundle.manifest.name: bundle for bundle in embedded_bundles()}


def says(pattern: str, *names: str) -> list[re.Match[str]]:
    """Where documents (all where none is named) say it; a fact that none says is no test."""
    texts = [text for name, text in TEXTS.items() if not names or name in names]
    matches = [match for text in texts for match in re.finditer(pattern, text)]
    assert matches, f"no document says {pattern}"
    return matches


def test_ids_are_those_of_bundles_that_are_shipped(bundles: dict[str, Bundle]) -> None:
    known = {
        name
        for bundle in bundles.values()
        for name in (bundle.hex_id, bundle.codec_id.hex(), *bundle.manifest.codec.former_ids)
    }
    named = {name: set(NAMED_ID.findall(text)) for name, text in TEXTS.items()}
    assert named["docs/results/scenes.md"]
    for name, ids in named.items():
        assert ids <= known, name


def test_the_format_has_the_version_that_is_written() -> None:
    for match in says(r"\bversion[ |`]+(?:u8[ |`]+)?(\d+)\b", "docs/bitstream.md"):
        assert int(match[1]) == VERSION, match[0]
    assert len(says(r"\bversion[ |`]+(?:u8[ |`]+)?(\d+)\b", "docs/bitstream.md")) >= 3
    for text in TEXTS.values():
        for match in re.finditer(r"\b(?:bitstream|format|stream),? version (\d+)", text):
            assert int(match[1]) == VERSION, match[0]


def test_level_maps_have_the_settings_of_their_bundle(bundles: dict[str, Bundle]) -> None:
    for match in says(r"`k` [^.]*?\(([\d.]+) for `([\w-]+)`\)"):
        assert float(match[1]) == bundles[match[2]].manifest.guidance.k, match[0]
    for match in says(r"cells \(of (\d+) pixels for `([\w-]+)`"):
        assert int(match[1]) == bundles[match[2]].manifest.guidance.cell, match[0]
    usual = bundles["tiny"].manifest.guidance
    for match in says(r"(\d+) px; (\d) levels; k ([\d.]+); step (\d+) \(the bundle\)"):
        settings = (int(match[1]), int(match[2]), float(match[3]), int(match[4]))
        assert settings == (usual.cell, usual.levels, usual.k, usual.step), match[0]
    for match in says(r"level map \d+x\d+ cells of (\d+) pixels, quality ([\d.]+) or ([\d.]+)"):
        base, step = bundles["tiny"].manifest.quality, usual.step / 20
        assert int(match[1]) == usual.cell
        assert [float(match[2]), float(match[3])] == [base - step, base + step]


def test_the_usual_form_is_the_one_that_costs_least(bundles: dict[str, Bundle]) -> None:
    (match,) = says(r"usual form `0x(\w\w)`: cells of (\d+) pixels, (\w+) levels, step (\d+)")
    form = int(match[1], 16)
    assert form == USUAL_FORM
    words = {"two": 2, "three": 3, "five": 5}
    usual = bundles["tiny"].manifest.guidance
    said = (int(match[2]), words[match[3]], int(match[4]))
    assert said == (usual.cell, usual.levels, usual.step)


def test_defaults_are_those_of_the_bundle(bundles: dict[str, Bundle]) -> None:
    for match in says(r"\((\d+) pixels for `([\w-]+)`[,)]"):
        assert int(match[1]) == bundles[match[2]].manifest.resolution, match[0]
    usual = bundles["tiny"].manifest
    for match in says(r"`\?quality` number, from 0, to 9, default ([\d.]+)"):
        assert float(match[1]) == usual.quality, match[0]
    for match in says(r"street\.png: (\d+)x\d+ at quality ([\d.]+) in", "docs/session.md"):
        assert (int(match[1]), float(match[2])) == (usual.resolution, usual.quality)


def test_the_model_card_has_the_minutes_of_the_manifest(bundles: dict[str, Bundle]) -> None:
    parts = {
        "codec": "codec",
        "towers": "clip",
        "language model": "llava",
        "layers for latents known before": "continuing",
        "adapter": "adapter",
        "cells of print": "print",
    }
    provenance = bundles["tiny"].manifest.provenance
    assert set(parts.values()) == set(provenance) - {"hardware"}
    for part, name in parts.items():
        (match,) = says(rf"\| {part} \| (\d+) \| ([\d,]+) \|", "docs/model_card.md")
        assert int(match[1]) == round(provenance[name]["minutes"]), part
        assert int(match[2].replace(",", "")) == provenance[name]["steps"], part
