"""A network learns which cells of a page hold print, and goes into a bundle beside the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_client.coding.encoder import Encoder
from scenes import Backgrounds
from scenes.pages import Fonts, render_page
from shared.bundle import PRINT, Bundle, embedded
from shared.libraries import import_onnxruntime
from tests.training.conftest import Train
from training.bundle.print_map import SentPrint
from training.codec import print_map
from training.codec.print_map import Analysis, Windows, cells_of_print, load_print_map
from training.loop.runner import load_checkpoint, write_checkpoint


@pytest.fixture(scope="module")
def run(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("print") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(print_map, "FIRST", 2)
        patch.setattr(print_map, "VALIDATION", 2)
        train("print_map", out, batch=4)
    return out


def test_cells_of_print_are_those_under_its_lines() -> None:
    page = render_page("train", 1, Fonts.installed(), Backgrounds.builtin(), (256, 192))
    line = replace(page.lines[0], quad=((33.0, 17.0), (79.0, 17.0), (79.0, 30.0), (33.0, 30.0)))
    cells = cells_of_print(replace(page, lines=(line,)))
    assert cells.shape == (12, 16)
    assert np.argwhere(cells).tolist() == [[1, 2], [1, 3], [1, 4]]


def test_latents_are_those_of_the_edge() -> None:
    page = render_page("train", 0, Fonts.installed(), Backgrounds.builtin(), (200, 150)).picture
    sent = Encoder(embedded(), threads=1).analyse(page, guidance=False)
    assert np.allclose(Analysis(embedded())(page), sent.latent, atol=0.01)


def test_windows_keep_latents_and_truth_together() -> None:
    def source() -> object:
        while True:
            truth = chance.random((20, 24)) < 0.5
            yield truth[None].astype(np.float32), truth

    chance = np.random.default_rng(0)
    latents, truths = Windows(source(), np.random.default_rng(1)).batch(3)  # type: ignore[arg-type]
    assert latents.shape == (3, 1, 16, 16)
    assert torch.equal(latents[:, 0], truths)


def test_the_command_makes_a_bundle_of_the_same_codec(
    run: Path, train: Train, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(print_map, "VALIDATION", 2)
        train("export", out, **{"print-map": run, "data": photographs})
    made = Bundle.open(out)
    assert made.codec_id == embedded().codec_id
    assert made.manifest.files[PRINT].part == "edge"
    assert made.manifest.provenance["print"]["steps"] > 0
    latent = np.random.default_rng(0).normal(0, 99, (1, 192, 5, 18)).astype(np.float32)
    session = import_onnxruntime().InferenceSession(str(made.path(PRINT)))
    logits, gain = session.run(["print", "gain"], {"latent": latent})
    net, _ = load_print_map(run)
    with torch.no_grad():
        wanted = net(torch.from_numpy(latent)).numpy()
    assert logits.shape == (1, 5, 18)
    assert gain.shape == (1, 5, 18)
    assert np.ptp(logits - wanted) < 1e-3, "but for the bias"


def test_a_map_pays_where_enough_is_surely_print() -> None:
    class Same(torch.nn.Module):
        def forward(self, latent: torch.Tensor) -> torch.Tensor:
            return latent[:, 0]

    sent = SentPrint(Same(), bias=1.0, sure=2.0, fewest=0.1)  # type: ignore[arg-type]
    latent = torch.zeros(1, 1, 4, 5)
    latent[0, 0, 0, :2] = 1.5
    logits, gain = sent(latent)
    assert (logits > 0).sum() == 2
    assert float(gain.mean()) == pytest.approx(-0.1)
    latent[0, 0, 0, :3] = 2.5
    assert float(sent(latent)[1].mean()) == pytest.approx(0.05)


def test_a_run_for_another_encoder_is_refused(
    run: Path,
    photographs: Path,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = load_checkpoint(run)
    state["info"]["encoder"] = "0" * 64
    write_checkpoint(tmp_path, state)
    with pytest.raises(SystemExit):
        train("export", tmp_path / "no", **{"print-map": tmp_path, "data": photographs})
    assert "another encoder than that of tiny" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
