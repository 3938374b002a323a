"""Teach a small network on an encoder's latents which cells of a picture hold print.

    page --encoder.onnx--> latent --PrintMap--> logit of each latent --> cells of print
      `--truth of its lines--------------------------------------------'

A picture's print takes a part of its area and is what is asked about; the rest may be coded
coarser. The edge has the latents anyway, so this costs it no look at the pixels. Truth comes from
Pages; photographs are taken to hold no print.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from scenes import Backgrounds
from scenes.pages import Fonts, Page, PageSplit, render_page
from shared.bundle import ENCODER, Bundle, open_bundle
from shared.errors import UsageError
from shared.level_map import STRIDE
from shared.libraries import import_onnxruntime
from training.codec.crops import PAGE_SIZES, SHRUNK
from training.loop.pictures import photographs, random_crop
from training.loop.runner import Losses, Runner, RunOptions, add_runner_arguments, load_checkpoint

WIDTH: Final = 32
COVERED: Final = 0.04  # share of a cell from which on it holds print
WINDOW: Final = 16  # latents a side of what a step sees
POOL: Final = 1_000  # pictures that are drawn from, each several times
FIRST: Final = 32
FIRST_PAGE: Final = 60_000_000
VALIDATION: Final = 34  # pages: two of each kind
VALIDATION_SIZE: Final = (384, 384)
RECALL: Final = 0.97  # of cells with print, where the others are counted

Array = NDArray[Any]
Picture = NDArray[np.uint8]
Example = tuple[Array, Array]
"""Latent f32 [C, h, w] and which of its places hold print, bool [h, w]."""


class PrintMap(nn.Module):
    """Three layers over the size of each latent.

        latent [B, C, h, w] --log(1 + |x|)--> 1x1 --> 3x3 --> 3x3 --> logits [B, h, w]

    Print is where much lies in fine channels, whatever its sign; the logarithm keeps black on white
    from drowning grey on grey.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, width, 1)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.tell = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """Above 0 for print rather than none, f32 [B, h, w]."""
        x = F.relu(self.mix(torch.log1p(latent.abs())))
        logits: Tensor = self.tell(F.relu(self.near(x)))[:, 0]
        return logits


class Analysis:
    """The edge's own transform, as its bundle ships it."""

    def __init__(self, bundle: Bundle) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(bundle.path(ENCODER)), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, picture: Picture) -> Array:
        """Latent f32 [C, h, w] of a picture u8 [H, W, 3]."""
        padding = [(0, -length % STRIDE) for length in picture.shape[:2]]
        whole = np.pad(picture, (*padding, (0, 0)), mode="edge")
        planes = whole.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        latent: Array = self._session.run(None, {"picture": planes})[0][0]
        return latent


def cells_of_print(page: Page) -> Array:
    """Which latents of a page hold print, bool [h, w], by the quads of its lines."""
    height, width = page.picture.shape[:2]
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    ink = Image.new("L", (columns * STRIDE, rows * STRIDE))
    drawing = ImageDraw.Draw(ink)
    for line in page.lines:
        drawing.polygon([tuple(corner) for corner in line.quad], fill=1)
    shares = np.asarray(ink).reshape(rows, STRIDE, columns, STRIDE).mean(axis=(1, 3))
    return np.asarray(shares > COVERED)


class Examples:
    """Pages of a split in index order, and photographs of a part, through the transform."""

    def __init__(self, split: PageSplit, data: Path, analysis: Analysis) -> None:
        self._split: PageSplit = split
        part: Literal["train", "val"] = "val" if split == "val" else "train"
        self.photos = photographs(data, part)
        self._backgrounds = Backgrounds.from_folder(data, part)
        try:
            self._fonts = Fonts.pinned()
        except ValueError as error:
            raise UsageError(str(error)) from error
        self._analysis = analysis

    def page(self, index: int, size: tuple[int, int], scale: float = 1.0) -> Example:
        """Page `index`, drawn at a size (width, height) and then scaled."""
        page = render_page(self._split, index, self._fonts, self._backgrounds, size)
        if scale < 1:
            page = _scaled(page, scale)
        return self._analysis(page.picture), cells_of_print(page)

    def photograph(self, picture: Picture) -> Example:
        """A photograph, which holds no print."""
        latent = self._analysis(picture)
        return latent, np.zeros(latent.shape[1:], bool)

    def endless(self, first: int, rng: np.random.Generator) -> Iterator[Example]:
        """A page, and a crop of a photograph as large, in turn."""
        for index in range(first, 1 << 62):
            size = PAGE_SIZES[rng.integers(len(PAGE_SIZES))]
            scale = rng.uniform(*SHRUNK) if rng.random() < 0.5 and min(size) > 256 else 1.0
            yield self.page(index, size, scale)
            yield self.photograph(random_crop(self.photos, min(size), rng))


def _scaled(page: Page, scale: float) -> Page:
    """A page that somebody looks at with fewer pixels."""
    height, width = page.picture.shape[:2]
    size = max(STRIDE * WINDOW, round(scale * width)), max(STRIDE * WINDOW, round(scale * height))
    picture = np.asarray(Image.fromarray(page.picture).resize(size, Image.Resampling.LANCZOS))
    by_x, by_y = size[0] / width, size[1] / height
    lines = []
    for line in page.lines:
        first, second, third, fourth = ((x * by_x, y * by_y) for x, y in line.quad)
        lines.append(replace(line, quad=(first, second, third, fourth)))
    return replace(page, picture=picture, lines=tuple(lines))


class Windows:
    """Windows of latents with their truth, from pictures that are kept for a while."""

    def __init__(self, source: Iterator[Example], rng: np.random.Generator) -> None:
        self._source, self._rng = source, rng
        self._kept: list[Example] = []
        while len(self._kept) < FIRST:
            self._renew()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Latents f32 [B, C, 16, 16] and truth f32 [B, 16, 16], after a page and a photograph are
        new."""
        self._renew()
        windows = [self._window() for _ in range(size)]
        latents, truths = (np.stack(parts) for parts in zip(*windows, strict=True))
        return torch.from_numpy(latents).float(), torch.from_numpy(truths).float()

    def _window(self) -> Example:
        latent, truth = self._kept[self._rng.integers(len(self._kept))]
        top, left = (self._rng.integers(length - WINDOW + 1) for length in truth.shape)
        down, across = slice(top, top + WINDOW), slice(left, left + WINDOW)
        return latent[:, down, across], truth[down, across]

    def _renew(self) -> None:
        for _ in range(2):
            latent, truth = next(self._source)
            self._kept.append((latent.astype(np.float16), truth))
        del self._kept[:-POOL]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--bundle", default="tiny", help="whose encoder: embedded name or folder")
    parser.add_argument("--batch", type=int, default=64, help="windows of 256 pixels a side")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; `export --print-map` puts the run into a bundle."""
    options = RunOptions.of(arguments)
    bundle = open_bundle(arguments.bundle)
    analysis = Analysis(bundle)
    channels = bundle.manifest.codec.latent_channels
    runner = Runner(options, PrintMap(channels), arguments.rate)
    rng = np.random.default_rng((options.seed, runner.steps_ever))
    examples = Examples("train", options.data, analysis)
    windows = Windows(examples.endless(runner.next_scene(FIRST_PAGE, 1), rng), rng)
    aside = Aside(options.data, analysis)

    def loss_of_step(model: PrintMap, step: int) -> Losses:
        latents, truths = (part.to(options.device) for part in windows.batch(arguments.batch))
        loss = F.binary_cross_entropy_with_logits(model(latents), truths)
        return {"loss": loss}

    info = {"channels": channels, "encoder": bundle.manifest.files[ENCODER].sha256}
    runner.run(loss_of_step, lambda model: aside.scores(model), info)


class Aside:
    """Pages and photographs that nothing is trained on."""

    def __init__(self, data: Path, analysis: Analysis) -> None:
        examples = Examples("val", data, analysis)
        self.pages = [examples.page(i, VALIDATION_SIZE) for i in range(VALIDATION)]
        self.photos = [examples.photograph(picture) for picture in examples.photos]

    def scores(self, model: PrintMap) -> dict[str, float]:
        """What else is taken for print where 97 % of the cells with print are: shares of the other
        cells of pages, and of those of photographs."""
        print_, ground = self.logits(model, self.pages)
        bias = float(np.quantile(print_, 1 - RECALL))
        _, photo = self.logits(model, self.photos)
        return {"ground": float((ground > bias).mean()), "photo": float((photo > bias).mean())}

    def logits(self, model: PrintMap, examples: list[Example]) -> tuple[Array, Array]:
        """Of all cells with print, and of all others."""
        device = next(model.parameters()).device
        sides: tuple[list[Array], list[Array]] = ([], [])
        for latent, truth in examples:
            with torch.no_grad():
                logits = model(torch.from_numpy(latent)[None].to(device))[0].cpu().numpy()
            sides[0].append(logits[truth])
            sides[1].append(logits[~truth])
        return np.concatenate(sides[0]), np.concatenate(sides[1])


def load_print_map(run: Path) -> tuple[PrintMap, dict[str, Any]]:
    """The averaged network of a run, and what it was trained for."""
    state = load_checkpoint(run)
    model = PrintMap(state["info"]["channels"])
    model.load_state_dict(state["average"])
    return model.eval(), state["info"]
