"""Clips over the codecs between: every sender brings all frames back, in their order."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.inference.mllm.load import load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from evaluation.codecs.clip_codecs import psnr_of, senders
from evaluation.codecs.cotam import CotamCodec, bare
from evaluation.commands.pictures import video
from evaluation.judges.motion import answers_about, blind
from scenes import Backgrounds
from scenes.motion import Track, render_track
from shared.bundle import Bundle

pytest.importorskip("av")


@pytest.fixture(scope="module")
def cotam(continuing_bundle: Bundle) -> CotamCodec:
    return CotamCodec(continuing_bundle)


@pytest.fixture(scope="module")
def track() -> Track:
    return render_track("test", 5, Backgrounds.builtin(), (96, 64), frames=4)


def test_each_sender_brings_the_frames_in_their_order(cotam: CotamCodec, track: Track) -> None:
    for sender in senders(cotam):
        size, shown = sender.send(track.pictures, sender.ladder[-1])
        assert size > 100
        assert psnr_of(track.pictures, shown) > 22, sender.name
        for picture, decoded in zip(track.pictures, shown, strict=True):
            others = [np.abs(decoded.picture.astype(int) - each).mean() for each in track.pictures]
            own = np.abs(decoded.picture.astype(int) - picture).mean()
            assert own <= min(others) + 0.5, sender.name


def test_more_bytes_are_nearer_to_the_frames(cotam: CotamCodec, track: Track) -> None:
    for sender in senders(cotam):
        if sender.name.startswith("CoTAM"):
            continue  # untrained layers go on from the frame before
        low, high = (sender.send(track.pictures, sender.ladder[n]) for n in (0, -1))
        assert low[0] < high[0], sender.name
        assert psnr_of(track.pictures, low[1]) < psnr_of(track.pictures, high[1]), sender.name


def test_the_bundles_model_answers_about_frames(bundle: Bundle) -> None:
    track = render_track("test", 5, Backgrounds.builtin(), frames=2)
    backend = load_backend("", [bundle], torch.device("cpu"), UpstreamOptions())
    seen = answers_about(backend, track.questions, [bare(p) for p in track.pictures])
    unseen = answers_about(backend, track.questions, blind(track))
    right = [question.answer for question in track.questions]
    hits = [sum(map(str.__eq__, said, right)) for said in (seen, unseen)]
    assert hits[0] > hits[1]


def test_a_section_is_written_of_what_was_measured(
    continuing_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "CAMERA_S", 2)
    parser = argparse.ArgumentParser()
    video.add_arguments(parser)
    words = ["--clips", "2", "--frames", "2", "--senders", "H.264", "JPEG, each frame"]
    arguments = parser.parse_args([*words, "--long", "20", "--bundle", str(continuing_bundle.root)])
    arguments.report, arguments.results = tmp_path / "report.md", tmp_path / "results"
    arguments.words = ("video", *words)
    video.main(arguments)
    text = arguments.report.read_text()
    for said in ("| blind |", "bits of JPEG, each frame against", "A still camera over 2 seconds"):
        assert said in text
