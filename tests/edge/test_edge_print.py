"""Cells of print are told from the latent, and get the bits of what is around them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_client.coding.encoder import Encoder
from edge_client.guidance.print_map import BAND, PrintGuide
from scenes import Backgrounds
from scenes.pages import Fonts, render_page
from shared.bundle import PRINT, embedded
from shared.libraries import import_onnxruntime


@pytest.mark.parametrize("side", [256, 384])
def test_print_gets_the_bits(encoder: Encoder, side: int) -> None:
    """Where the tower does not know a page, its cells of print are told from the latent."""
    page = render_page("test", 5, Fonts.pinned(), Backgrounds.builtin(), (side, side))
    level_map = encoder.analyse(page.picture).level_map
    assert level_map is not None
    assert (level_map.cell, level_map.levels) == (16, 2)
    wanted = np.zeros(level_map.values.shape, bool)
    for line in page.lines:
        left, top, right, bottom = (int(edge) // 16 for edge in line.box)
        wanted[top : bottom + 1, left : right + 1] = True
    of_print, of_ground = level_map.values[wanted], level_map.values[~wanted]
    assert of_print.mean() > 0.75
    assert of_ground.mean() < 0.1
    assert encoder.analyse(page.picture, guidance=False).level_map is None


@pytest.mark.parametrize("rows", [1, BAND, BAND + 1, 2 * BAND + 30])
def test_bands_of_a_large_latent_are_the_whole_of_it(rows: int) -> None:
    session = import_onnxruntime().InferenceSession(str(embedded().path(PRINT)))
    latent = np.random.default_rng(rows).normal(0, 3, (192, rows, 5)).astype(np.float32)
    latent[:, :, 2] *= 30
    logits, gain = session.run(None, {"latent": latent[None]})
    chances, level_map = PrintGuide(session)(latent)
    assert np.allclose(chances, 1 / (1 + np.exp(-logits[0])), atol=1e-5)
    assert (level_map is not None) == (gain.sum() > 0)
