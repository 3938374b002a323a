"""The codec of a run as a bundle holds it, and a bundle in which it alone is new.

    run    -- encoder.onnx (8 bits), entropy.npz, decoder.safetensors --+
    bundle -- guidance.onnx, mllm/, text tower, unchanged --------------+--> bundle, checked

Adapter and print map of that bundle are left out: they were made for the codec before.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from shared import bundle as bundles
from shared.bundle import Bundle, open_bundle
from shared.coding.integer_layers import CODES
from shared.coding.symbol_coder import scale_tables
from shared.entropy_model import EntropyModel
from shared.level_map import STRIDE, flat_codes
from shared.nets.codec import Codec, load_synthesis, save_synthesis
from shared.nets.rate import Rate
from training.bundle.checks import differences, example_picture, require, run_graph
from training.bundle.continuing import LAYERS
from training.bundle.copies import changed_copy, write_manifest
from training.bundle.graphs import check_graphs, write_onnx
from training.codec.edge_analysis import EdgeAnalysis
from training.codec.quantise import quantise_encoder
from training.codec.trainer import load_codec
from training.loop.runner import spent

FILES: Final = (bundles.ENCODER, bundles.ENTROPY, bundles.DECODER)
EDGE: Final = (bundles.ENCODER, bundles.ENTROPY)
FOLLOWING: Final = (bundles.ADAPTER, bundles.PRINT)  # made for one codec
MOST_OVER_ESTIMATE: Final = 1.05  # coded over estimated bits: 1.026 was seen, after four steps
ONNX_TOLERANCE: Final = 2e-3  # of latents in 8-bit units, hundreds large
ENCODER_ERROR: Final = 3.0  # root mean square in 8-bit units, of a graph in 8 bits


def export_codec(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, check it, then rename. An old one is replaced."""
    base = open_bundle(arguments.bundle)
    codec = load_codec(arguments.codec)
    out: Path = arguments.out
    with changed_copy(base, out) as folder:
        write_codec(codec, folder, arguments.quantise)
        for name in FOLLOWING:
            (folder / name).unlink(missing_ok=True)
        manifest = base.manifest.model_dump(mode="json")
        steps, seconds = spent(arguments.codec, "codec").values()
        for name in ("adapter", "print", "continuing"):
            manifest["provenance"].pop(name, None)
        manifest["provenance"]["codec"] = {"steps": steps, "minutes": round(seconds / 60, 1)}
        entries = bundles.describe_files(folder, FILES, EDGE)
        manifest["files"] |= {name: entry.model_dump() for name, entry in entries.items()}
        for name in FOLLOWING:
            manifest["files"].pop(name, None)
        manifest |= {"codec": codec_settings(codec), "name": arguments.name}
        write_manifest(bundles.Manifest.model_validate(manifest), folder)
        made = Bundle.open(folder)
        check_graphs(made)
        for line in check_codec(made, codec, bool(arguments.quantise)):
            print(line)
    bundle = Bundle.open(out)
    print(f"bundle {bundle.hex_id} of codec {bundle.codec_id.hex()} at {out}, without adapter")


def write_codec(codec: Codec, folder: Path, photographs: Path | None) -> None:
    """The codec's files. photographs: by which the encoder is made one of 8 bits."""
    write_encoder(codec, folder / bundles.ENCODER)
    if photographs is not None:
        quantise_encoder(folder / bundles.ENCODER, photographs)
    np.savez_compressed(folder / bundles.ENTROPY, **entropy_arrays(codec))
    save_synthesis(codec.synthesis, folder / bundles.DECODER)
    (folder / bundles.DECODER).chmod(0o644)


def codec_settings(codec: Codec) -> dict[str, Any]:
    """What the manifest says of a codec, which has learnt to continue streams beside the rest."""
    return {
        "latent_channels": codec.config.latent_channels,
        "conditional": True,
        "layers": LAYERS,
    }


def write_encoder(codec: Codec, path: Path) -> None:
    """encoder.onnx: `picture` f32 [1, 3, 16h, 16w] 0..1 -> `latent` f32 [1, C, h, w]."""
    example = torch.rand(1, 3, 4 * STRIDE, 6 * STRIDE)
    axes = {"picture": {2: "height", 3: "width"}, "latent": {2: "rows", 3: "columns"}}
    write_onnx(EdgeAnalysis(codec.analysis), example, path, ("latent",), axes)


@torch.no_grad()
def entropy_arrays(codec: Codec) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `entropy.npz`: integer layers, steps and gains of the 181 codes, tables."""
    arrays = {}
    for name, integers in codec.entropy.layers().items():
        for kind, tensor in integers.export().items():
            arrays[f"{name}.{kind}"] = tensor.numpy()
    arrays["steps"] = codec.steps().to(torch.int32).numpy()
    gain, index = codec.hyper_gains(torch.arange(CODES).float())
    arrays["hyper_gains"] = gain.flatten(1).float().numpy()
    arrays["hyper_scales"] = index.flatten(1).to(torch.uint8).numpy()
    hyper = codec.hyper_analysis
    for i, layer in enumerate((hyper.first, hyper.second, hyper.third)):
        weight, bias = layer.weight, layer.get_parameter("bias")
        arrays[f"hyper_analysis{i}.weight"] = weight.flatten(1).T.contiguous().numpy()
        arrays[f"hyper_analysis{i}.bias"] = bias.numpy()
    arrays["tables"], arrays["table_ends"] = scale_tables()
    return arrays


@torch.no_grad()
def check_codec(bundle: Bundle, codec: Codec, quantised: bool = False) -> list[str]:
    """Compare the bundle's codec with the trained one. Raises AssertionError where they differ."""
    picture = example_picture(192, 160)
    latent = codec.analysis(picture)
    most, error = differences(latent, run_graph(bundle.path(bundles.ENCODER), picture))
    lines = [f"encoder.onnx against torch: {error:.1e} on average, {most:.1e} at most"]
    exact = most < ONNX_TOLERANCE * float(latent.abs().max())
    require(exact or (quantised and error < ENCODER_ERROR), lines[-1])

    codes = flat_codes(60, 160, 192)
    model = EntropyModel.load(bundle.path(bundles.ENTROPY))
    encoded = model.encode(latent[0].numpy(), codes, 60)
    decoded = model.decode(encoded.payload, encoded.check, codes, 60)
    float_codes = torch.from_numpy(codes).float().unsqueeze(0)
    twin, bits = _forward(codec, latent, float_codes)
    most, _ = differences(twin, torch.from_numpy(decoded))
    size = 8 * len(encoded.payload)
    lines.append(
        f"integer network against its torch twin: largest difference {most:.1e}; "
        f"{size} bits coded, {bits:.0f} estimated"
    )
    # Estimates count symbols that the coder skips (scale index 0), so they may only be larger.
    require(most < 1e-2 and size < MOST_OVER_ESTIMATE * bits, lines[-1])

    stored = load_synthesis(bundle.path(bundles.DECODER))
    most, _ = differences(stored(twin, float_codes), codec.synthesis(twin, float_codes))
    lines.append(f"decoder in float16 against float32: largest difference {most:.1e}")
    require(most < 1 / 255, lines[-1])
    return lines


def _forward(codec: Codec, latent: Tensor, codes: Tensor) -> tuple[Tensor, float]:
    """Decoded latent and estimated bits, by the torch twin."""
    decoded, bits, hyper_bits = codec.code_latent(latent, codes, codes[:, 0, 0], Rate().eval())
    return decoded, float(bits.sum() + hyper_bits.sum())
