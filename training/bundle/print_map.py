"""A bundle whose edge gives its bits to print: one that exists, and print.onnx of a run.

    latent --PrintMap, less a bias--> print: above 0 where a cell holds print
                                  `--> is it sure? --> gain: in sum above 0 where a map pays

The bias is such that nearly all print counts as print. A map pays where there is more that surely
is print than there is on photographs. Where all is print it costs a few bytes and takes bits from
nothing, but then print has the same quality on all pictures.
"""

from __future__ import annotations

import argparse
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.bundle import ENCODER, PRINT, Bundle, describe_files, open_bundle
from shared.errors import UsageError
from training.bundle.copies import changed_copy, write_manifest
from training.bundle.graphs import check_graphs, write_onnx
from training.codec.print_map import RECALL, Analysis, Aside, PrintMap, load_print_map
from training.loop.runner import spent

FEWEST: Final = 0.01  # share of sure cells from which on a map may pay
SURE: Final = 0.7  # of the cells with print, how many surely hold some
MAPPED: Final = 0.02  # of photographs kept aside, how many may get a map


class SentPrint(nn.Module):
    """What print.onnx computes of a latent f32 [1, C, h, w]: print and gain, f32 [1, h, w] each.

    The gain of a cell is 1 - fewest where it surely holds print, -fewest elsewhere: a picture's is
    the sum over its parts, so the edge needs not look at all of a large one at once.
    """

    def __init__(self, net: PrintMap, bias: float, sure: float, fewest: float) -> None:
        super().__init__()
        self.net, self.bias, self.sure, self.fewest = net, bias, sure, fewest

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(latent)
        return logits - self.bias, (logits > self.sure).float() - self.fewest


def export_print(arguments: argparse.Namespace) -> None:
    """Write the bundle. Raises UsageError where the run was trained on another encoder."""
    base = open_bundle(arguments.bundle)
    if arguments.data is None:
        raise UsageError("--print-map needs --data: photographs that should get no map")
    net, info = load_print_map(arguments.print_map)
    if info["encoder"] != base.manifest.files[ENCODER].sha256:
        raise UsageError(
            f"the run was trained on another encoder than that of {base.manifest.name}",
            hint="train with --bundle of the bundle that it is for",
        )
    sent = _sent(net, Aside(arguments.data, Analysis(base)))
    steps, seconds = spent(arguments.print_map, "print").values()
    trained = {"steps": steps, "minutes": round(seconds / 60, 1)}
    with changed_copy(base, arguments.out) as folder:
        example = torch.zeros(1, info["channels"], 16, 12)
        free = {2: "rows", 3: "columns"}
        cells = {1: "rows", 2: "columns"}
        axes = {"latent": free, "print": cells, "gain": cells}
        write_onnx(sent, example, folder / PRINT, ("print", "gain"), axes, taken="latent")
        manifest = base.manifest
        files = {**manifest.files, **describe_files(folder, [PRINT], [PRINT])}
        provenance = {**manifest.provenance, "print": trained}
        write_manifest(
            manifest.model_copy(update={"files": files, "provenance": provenance}), folder
        )
        check_graphs(Bundle.open(folder))
    print(f"bundle {Bundle.open(arguments.out).hex_id} at {arguments.out}")


def _sent(net: PrintMap, aside: Aside) -> SentPrint:
    """The network with thresholds chosen on pictures that it was not trained on."""
    of_print, _ = aside.logits(net, aside.pages)
    bias, sure = (float(np.quantile(of_print, 1 - share)) for share in (RECALL, SURE))
    photos = [aside.logits(net, [photo])[1] for photo in aside.photos]
    shares = [float((logits > sure).mean()) for logits in photos]
    fewest = max(FEWEST, float(np.quantile(shares, 1 - MAPPED)))
    pages = [np.concatenate(aside.logits(net, [page])) for page in aside.pages]
    mapped = np.mean([(logits > sure).mean() > fewest for logits in pages])
    taken = np.mean(np.concatenate(photos) > bias)
    print(
        f"of pages kept aside, {RECALL:.0%} of the print is taken for print (above {bias:.2f}), as "
        f"are {taken:.1%} of the cells of photographs; a map is sent where more than {fewest:.1%} "
        f"of the cells are surely print (above {sure:.2f}): on {mapped:.0%} of these pages"
    )
    return SentPrint(net, bias, sure, fewest).eval()
