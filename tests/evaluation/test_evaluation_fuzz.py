"""The fuzz target: its cases repeat, most of the reader is reached, and a failure is seen."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.codecs.clip_damage import good_clips
from evaluation.codecs.damage import damaged
from evaluation.commands.service import fuzz
from evaluation.commands.service.clip_cases import Clips
from shared.bitstream import Bitstream
from shared.bundle import ENTROPY, Bundle
from shared.entropy_model import EntropyModel
from shared.frames import Changes, Frame, read_base, read_frames
from shared.layers.enhancement import Enhancement


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> EntropyModel:
    return EntropyModel.load(bundle.path(ENTROPY))


@pytest.fixture(scope="module")
def streams(model: EntropyModel, bundle: Bundle) -> list[bytes]:
    return fuzz.good_streams(model, bundle.codec_id)


def test_the_streams_to_damage_are_good(model: EntropyModel, streams: list[bytes]) -> None:
    assert [fuzz.read(model, stream) for stream in streams] == ["decoded"] * len(streams)
    assert any(Bitstream.from_bytes(stream).extras for stream in streams)
    assert len({Bitstream.from_bytes(stream).level_map[:1] for stream in streams}) > 6


def test_a_seed_is_always_the_same_damage(streams: list[bytes]) -> None:
    made = [[damaged(streams, np.random.default_rng(n)) for n in range(40)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) == 40


def test_a_batch_reaches_all_of_the_reader_and_nothing_fails(
    model: EntropyModel, streams: list[bytes]
) -> None:
    outcome = fuzz.batch(fuzz.Streams(model, streams), seed=1, number=0)
    assert outcome["failures"] == []
    assert sum(outcome["ends"].values()) == fuzz.BATCH
    assert outcome["ends"]["decoder_mismatch"] > fuzz.BATCH / 10
    wanted = ("truncated", "corrupt", "malformed", "foreign", "version", "too_large")
    assert {f"stream_{end}" for end in wanted} <= set(outcome["ends"])


def test_what_a_reader_must_not_raise_is_a_failure(
    model: EntropyModel, streams: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("out of it")

    monkeypatch.setattr(model, "decode", broken)
    outcome = fuzz.batch(fuzz.Streams(model, streams), seed=1, number=0)
    assert outcome["failures"][0].startswith("IndexError: out of it: 0: c754")


@pytest.fixture(scope="module")
def enhancements(continuing_bundle: Bundle) -> fuzz.Enhancements:
    model = EntropyModel.load(continuing_bundle.path(ENTROPY))
    return fuzz.Enhancements(model, continuing_bundle.codec_id)


def test_the_enhancements_to_damage_are_good(enhancements: fuzz.Enhancements) -> None:
    cases = [fuzz.Case(data, base) for base, data in enumerate(enhancements.good)]
    assert [enhancements.read(case) for case in cases] == ["decoded"] * len(cases)
    parsed = [Enhancement.from_bytes(data) for data in enhancements.good]
    assert {bool(each.cells) for each in parsed} == {False, True}
    assert {each.price_before for each in parsed} == {0, 16}


def test_damaged_enhancements_end_in_every_error_and_nothing_fails(
    enhancements: fuzz.Enhancements,
) -> None:
    outcome = fuzz.batch(enhancements, seed=1, number=0)
    assert outcome["failures"] == []
    assert outcome == fuzz.batch(enhancements, seed=1, number=0) | {
        name: outcome[name] for name in ("slowest", "peak_mb")
    }
    assert outcome["ends"]["decoder_mismatch"] > fuzz.BATCH / 10
    wanted = ("cells", "coarse", "foreign")
    assert {f"enhancement_{end}" for end in wanted} <= set(outcome["ends"])
    assert {f"stream_{end}" for end in ("truncated", "corrupt", "foreign")} <= set(outcome["ends"])


@pytest.fixture(scope="module")
def clips(continuing_bundle: Bundle) -> Clips:
    model = EntropyModel.load(continuing_bundle.path(ENTROPY))
    return Clips(model, *good_clips(model, continuing_bundle.codec_id), fuzz.LIMITS)


def test_the_clips_to_damage_are_good(clips: Clips) -> None:
    cases = [fuzz.Case(data, number) for number, data in enumerate(clips.good)]
    assert [clips.read(case) for case in cases] == ["decoded"] * len(cases)
    assert {read_base(data) is None for data in clips.good} == {False, True}
    bodies = [f.body for data in clips.good for f in read_frames(data) if isinstance(f, Frame)]
    changes = [body for body in bodies if isinstance(body, Changes)]
    assert {body.renews for body in changes} == {False, True}
    assert {bool(body.plane) for body in changes} == {False, True}


def test_damaged_clips_end_as_documented_and_nothing_fails(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "BATCH", 150)
    outcome = fuzz.batch(clips, seed=1, number=0)
    assert outcome["failures"] == []
    assert {"decoded", "some lost", "decoder_mismatch", "stream_malformed", "base_unknown"} <= set(
        outcome["ends"]
    )
