"""A bundle whose streams can be continued: one that exists, and layers for latents known before.

bundle -- everything but entropy.npz, unchanged -------------------+
       -- entropy.npz, its layers unchanged ---+                   |
run    -- before1, before2, before.k, gate.k.g +--> entropy.npz ---+--> bundle, checked

Streams of whole pictures use none of these layers: those of the bundle that it was made of are
read as before.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared import bundle as bundles
from shared.bundle import Bundle, open_bundle
from shared.coding.integer_layers import knows_before
from shared.errors import UsageError
from shared.nets.codec import Codec
from training.bundle.copies import changed_copy, write_manifest
from training.codec.trainer import load_codec
from training.loop.runner import spent

LAYERS: Final = 4  # streams that a picture may be sent in


def export_continuing(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, check it, then rename. An old one is replaced.

    Raises UsageError where the run changed what streams of whole pictures are coded with.
    """
    base = open_bundle(arguments.bundle)
    codec = load_codec(arguments.continuing)
    out: Path = arguments.out
    with changed_copy(base, out) as folder:
        with np.load(base.path(bundles.ENTROPY)) as file:
            arrays = dict(file)
        manifest = base.manifest.model_dump(mode="json")
        if not knows_before(arrays):
            manifest["codec"]["former_ids"].append(base.codec_id.hex())
        np.savez_compressed(folder / bundles.ENTROPY, **_with_layers(arrays, codec))
        manifest["codec"] |= {"conditional": True, "layers": LAYERS}
        entropy = bundles.describe_files(folder, [bundles.ENTROPY], (bundles.ENTROPY,))
        manifest["files"] |= {name: entry.model_dump() for name, entry in entropy.items()}
        manifest["provenance"]["continuing"] = _spent(arguments.continuing, manifest["provenance"])
        write_manifest(bundles.Manifest.model_validate(manifest), folder)
    bundle = Bundle.open(out)
    print(f"bundle {bundle.hex_id} of codec {bundle.codec_id.hex()} at {out}")


def _spent(run: Path, provenance: dict[str, Any]) -> dict[str, float]:
    """Steps and minutes of these layers alone: the run also counts those of its codec."""
    steps, seconds = spent(run, "codec").values()
    codec = provenance.get("codec", {"steps": 0, "minutes": 0.0})
    minutes = round(seconds / 60 - codec["minutes"], 1)
    return {"steps": steps - codec["steps"], "minutes": minutes}


def _with_layers(arrays: dict[str, NDArray[Any]], codec: Codec) -> dict[str, NDArray[Any]]:
    """Arrays of entropy.npz with the run's layers for latents known before."""
    continuing = codec.entropy.layers_before()
    made = dict(arrays)
    for name, layer in codec.entropy.layers().items():
        for kind, tensor in layer.export().items():
            key, array = f"{name}.{kind}", tensor.numpy()
            if name in continuing:
                made[key] = array
            elif not np.array_equal(array, arrays[key]):
                raise UsageError(
                    f"the run changed {name}, which streams of whole pictures are coded with",
                    hint="train with `entropy --continuing`, from this bundle",
                )
    return made
