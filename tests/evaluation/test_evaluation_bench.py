"""The benchmark's parts: what is timed and how turns are counted. No test looks at a clock."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from evaluation.codecs.compressai_zoo import untrained
from evaluation.codecs.cotam import CotamCodec, adapters_of
from evaluation.commands.service.bench import (
    REFERENCE,
    STAGES,
    mosaic,
    side_of,
    take_turns,
    time_cotam,
    time_learned,
    time_peer,
)
from evaluation.machine import bench_edge, peak_memory
from evaluation.machine.bench_edge import copy_source
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import UsageError


def test_sides_are_whole_latents() -> None:
    assert [side_of(m) for m in (0.25, 1.0, 4.0, 0.0)] == [512, 1024, 2048, 16]


def test_the_mosaic_is_always_the_same_picture() -> None:
    picture = mosaic(272)
    assert picture.shape == (272, 272, 3)
    assert (picture == mosaic(272)).all()
    assert picture.std() > 20


def test_the_first_turn_only_warms_up() -> None:
    times = iter([100.0, 3.0, 1.0, 2.0])
    medians = take_turns({"a": lambda: {"encode": next(times)}}, 3)
    assert medians == {"a": {"encode": 2.0}}


def test_every_stage_of_ours_is_timed(bundle: Bundle) -> None:
    times = time_cotam(CotamCodec(bundle), adapters_of(bundle), mosaic(64))
    assert {"encode", "decode", *STAGES} <= set(times)
    assert times["encode"] >= times["guidance"] + times["analysis"] + times["coding"]


def test_peak_memory_is_that_of_a_process_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    photo, stream = tmp_path / "photo.png", tmp_path / "photo.cotam"
    Image.fromarray(mosaic(64)).save(photo)
    encode, decode = peak_memory.measure(bundle, photo, stream)
    assert Bitstream.from_bytes(stream.read_bytes()).width == 64
    assert 20 < encode < decode


def test_memory_of_what_fails_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="measuring encode failed"):
        peak_memory.measure(bundle, tmp_path / "nothing.png", tmp_path / "stream")


def test_a_peer_is_timed_both_ways() -> None:
    assert set(time_peer(REFERENCE, mosaic(64), 50)) == {"encode", "decode"}


def test_a_learned_codec_is_timed_both_ways() -> None:
    model = untrained("bmshj2018-factorized", 3)
    assert set(time_learned(model, mosaic(64))) == {"encode", "decode"}


def test_the_copy_that_is_installed_holds_what_the_build_needs(tmp_path: Path) -> None:
    copy_source(tmp_path / "source")
    there = {entry.name for entry in (tmp_path / "source").iterdir()}
    assert {"pyproject.toml", "README.md", "LICENSE", "edge_client", "shared"} <= there
    assert not [*(tmp_path / "source").rglob("__pycache__")]


def test_the_bare_install_is_reported_with_what_each_part_is_for(tmp_path: Path) -> None:
    ran = bench_edge.run(bench_edge.ROOT, Path(sys.executable), "-c", bench_edge.CODERS, "1000")
    measured = {
        "megabytes": 160.5,
        "sizes": {"numpy": 71.4, "Pygments": 8.6, "h11": 0.2, "idna": 0.5},
        "versions": {"numpy": "2.4.6", "Pygments": "2.21.0", "h11": "0.16.0", "idna": "3.20"},
        "forbidden": [],
        "times": {"`edge_client --version`": str(bench_edge.Ran(0.31, 0.3, ""))},
        "peaks": {"12": 351.0},
        "coders": json.loads(ran.out),
        "load": 0.5,
        "cores": 2,
    }
    text = bench_edge.report(measured, "`bench --edge`")
    assert "| numpy 2.4.6 | 71.4 |" in text
    assert "| 2 others | 0.7 |" in text
    assert "0.31 s (0.30 s of the processor)" in text
    assert "| torch, transformers and their like | none |" in text
    with pytest.raises(UsageError, match="boom"):
        bench_edge.run(tmp_path, Path(sys.executable), "-c", "raise SystemExit('boom')")


def test_drawn_pictures_of_any_size() -> None:
    assert bench_edge.tiled(1100, 40).shape == (40, 1100, 3)
