"""What exactness costs: the integer entropy network against the same weights without rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge_client.pictures.images import Picture
from evaluation.codecs.distortion import HIGH, LOW, psnr
from evaluation.codecs.pictures import PictureSet
from evaluation.report.records import Fields, Records
from evaluation.stats.curves import Curve, bd_rate
from shared.level_map import STRIDE
from shared.nets.codec import Codec
from shared.nets.rate import Rate
from training.codec.trainer import load_codec
from training.loop.runner import load_checkpoint


@torch.inference_mode()
def integer_cost(run: Path, pictures: PictureSet, qualities: list[float], records: Records) -> str:
    """A sentence with the BD-rate, by estimated bits of both."""
    codec, rate = load_codec(run), Rate().eval()
    step = int(load_checkpoint(run)["step"])
    curves = {}
    for quantised in (True, False):
        points = []
        for quality in qualities:
            values = [
                records.measure(
                    {
                        "picture": file.name,
                        "run": run.resolve().name,
                        "step": step,
                        "quantised": quantised,
                        "quality": float(quality),
                    },
                    _code,
                    codec,
                    rate,
                    pictures.load(i),
                    quality,
                    quantised,
                )
                for i, file in enumerate(pictures.files)
            ]
            bpp, decibels = (float(np.mean([v[n] for v in values])) for n in ("bpp", "psnr"))
            points.append((bpp, decibels))
        curves[quantised] = Curve.of(points)
    change = bd_rate(curves[False], curves[True], LOW, HIGH)
    return (
        f"The integer entropy network costs {100 * change:+.2f} % bits (BD-rate, PSNR) against the "
        f"same weights run in floating point, by the bits that both estimate (run "
        f"`{run.resolve().name}`, step {step})."
    )


def _code(codec: Codec, rate: nn.Module, picture: Picture, quality: float, exact: bool) -> Fields:
    height, width = picture.shape[:2]
    planes = torch.from_numpy(picture.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
    padded = nn.functional.pad(planes, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    latent: Tensor = codec.analysis(padded)
    codes = torch.full((1, *latent.shape[-2:]), 20.0 * quality)
    decoded, bits, hyper_bits = codec.code_latent(latent, codes, codes[:, 0, 0], rate, exact)
    restored = codec.synthesis(decoded, codes)[0, :, :height, :width].clamp(0, 1)
    back = (restored * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return {
        "bpp": float(bits.sum() + hyper_bits.sum()) / (height * width),
        "psnr": psnr(picture, back),
    }
