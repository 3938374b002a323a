"""The vision part of any image-text model of transformers, as it is.

    picture --the model's own processor--> pixel values --patch embeddings (+ tokens)--> layers
            --> what the projector reads --projector--> features

Nothing of a model is rebuilt: tokens are added by a hook on its patch embeddings, and what its
projector reads is told by a hook on the projector.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UsageError
from shared.level_map import STRIDE, latent_shape
from shared.nets.adapter import LatentAdapter, place
from shared.nets.fingerprint import fingerprint_of
from shared.nets.geometry import Geometry, Patches, measure, order_of
from shared.nets.processed import Inputs, Picture, ids_and_inputs, image_token, join
from shared.tower import TowerSpec

TOWERS: Final = ("vision_tower", "visual", "vision_model")
EMBEDDINGS: Final = ("embeddings", "patch_embed")
PROJECTORS: Final = ("multi_modal_projector", "merger")
MERGED: Final = 4  # patches of a square that a projector makes one feature of
LARGEST: Final = 2048  # pixels: a tower that sees more is worth no larger pictures by itself


class _Reached(Exception):
    """What was asked for is there; the rest of the model need not run."""


class Vision:
    """Tower, projector and image processor of a model.

    model: an image-text model of transformers, or its part without head. layout: as in `TowerSpec`.
    width, heads: of the tower. patch: pixels a side. grid: patches a side of its square, None where
    it takes any shape. leading: tokens before those of patches. Raises UsageError for a model that
    has no vision tower of this kind.
    """

    def __init__(
        self, model: Any, processor: Any, layout: Literal["processor", "corner"] = "processor"
    ) -> None:
        self.base = getattr(model, "model", model)
        self.processor = processor
        self.layout = layout
        self.tower = _part(self.base, TOWERS, "vision tower")
        self.embeddings = _part(self.tower, EMBEDDINGS, "patch embeddings")
        holder = self.base if _has(self.base, PROJECTORS) else self.tower
        self.projector = _part(holder, PROJECTORS, "projector")
        if not hasattr(self.base, "get_image_features"):
            raise UsageError(f"a {type(self.base).__name__} gives no features of a picture")
        config = self.tower.config
        self.config = self.base.config
        self.width = int(_one(config, "hidden_size"))
        if not isinstance(self.embeddings, nn.Module):
            raise UsageError(f"a {config.model_type} has no patch embeddings")
        if config.model_type.startswith("qwen2_vl"):
            self.width = int(config.embed_dim)
        self.heads = int(_one(config, "num_attention_heads", "num_heads"))
        self.patch = _square(_one(config, "patch_size"))
        side = getattr(config, "image_size", None)
        self.grid = None if side is None else _square(side) // self.patch
        weight = next(self.embeddings.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.leading = self._leading()
        self.packs_one = False  # whether features of a batch are one tensor, known when it has seen
        self._geometry = functools.lru_cache(maxsize=256)(self._measure)
        self.places = functools.lru_cache(maxsize=256)(self._places)
        self._order = functools.lru_cache(maxsize=256)(self._find_order)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The name of the tower's weights."""
        return fingerprint_of(self.tower)

    def spec(self) -> TowerSpec:
        """The tower's description for a manifest."""
        images = self.processor.image_processor
        mean = [float(shade) for shade in images.image_mean]
        return TowerSpec.model_validate(
            {
                "model": self.config.model_type,
                "vision": self.tower.config.model_type,
                "width": self.width,
                "heads": self.heads,
                "patch": self.patch,
                "grid": self.grid,
                "leading": self.leading,
                "layer": self.layer,
                "mean": mean,
                "deviation": [float(shade) for shade in images.image_std],
                "fill": [round(255 * shade) for shade in mean],
                "layout": self.layout,
                "fingerprint": self.fingerprint,
            }
        )

    @property
    def layer(self) -> int:
        """The hidden state that the projector reads, counted from the last, -1."""
        chosen = getattr(self.config, "vision_feature_layer", -1)
        if isinstance(chosen, (list, tuple)):
            chosen = chosen[-1]
        layers = int(_one(self.tower.config, "num_hidden_layers", "depth"))
        return int(chosen) if chosen < 0 else int(chosen) - layers - 1

    def resolution(self) -> int:
        """Long side in pixels that is worth sending: a latent for each token of the finest view."""
        geometry = self.geometry(LARGEST, LARGEST)
        return min(LARGEST, 16 * round(1 / float(geometry.step.min())))

    def geometry(self, height: int, width: int) -> Geometry:
        """Where the tokens look in pictures of that size."""
        return self._geometry(height, width)

    def inputs(self, picture: Picture) -> Inputs:
        """What the model's processor makes of a picture u8 [H, W, 3], on the CPU."""
        return self.look(picture)[1]

    def look(self, picture: Picture) -> tuple[list[int], Inputs]:
        """The token ids that stand for a picture u8 [H, W, 3] in a prompt, and its `inputs`."""
        mark = image_token(self.processor)
        processed = self.processor(text=[mark], images=[[self._laid(picture)]], return_tensors="pt")
        return ids_and_inputs(self.processor, mark, processed)

    def tokens_of_latents(self, height: int, width: int, count: int) -> NDArray[np.intp] | None:
        """Which of the `count` features of a picture looks at each of its latents, i64 [h, w].

        None where features do not stand for patches, or squares of two by two, of one view.
        """
        geometry = self.geometry(height, width)
        centres = geometry.ordered(geometry.centres.flatten(1, 2))
        if len(centres) != 1:
            return None
        places = centres[0].numpy()
        if geometry.order is not None and len(places) == MERGED * count:
            places = places.reshape(count, MERGED, 2).mean(axis=1)
        if len(places) != count:
            return None
        rows, columns = latent_shape(width, height)
        down = (np.arange(rows) + 0.5) * STRIDE / height
        across = (np.arange(columns) + 0.5) * STRIDE / width
        far = np.square(across[:, None] - places[:, 0]) * width**2
        far = far + np.square(down[:, None, None] - places[:, 1]) * height**2
        nearest: NDArray[np.intp] = far.argmin(axis=-1)
        return nearest

    @torch.inference_mode()
    def _places(self, height: int, width: int) -> NDArray[np.float32] | None:
        """Where each feature of a picture of that size looks, f32 [N, 2]: x and y, 0..1.

        Outside of that where it looks at padding, nan for what stands for no place, as the ends of
        rows. None where that is not known. The model itself packs the places of its tokens, as if
        they were their features.
        """
        geometry = self.geometry(height, width)
        centres = geometry.ordered(geometry.centres.flatten(1, 2))
        if geometry.order is not None:  # squares of two by two, one after another
            places: NDArray[np.float32] = centres[0].unflatten(0, (-1, MERGED)).mean(1).numpy()
            return places

        def mark(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            marks = torch.zeros_like(output)
            looks = _joined(centres, geometry.centres.shape[1:3], output.shape[1])
            if looks is not None:
                marks[:, -looks.shape[1] :, :2] = looks.to(marks)
                marks[:, -looks.shape[1] :, 2] = 1
            return marks

        handle = self.projector.register_forward_hook(mark)
        try:
            inputs = self.inputs(np.zeros((height, width, 3), np.uint8))
            packed = self.features([inputs])[0].float().cpu().numpy()
        finally:
            handle.remove()
        looking = np.isclose(packed[:, 2], 1, atol=0.02) & ~packed[:, 3:].any(axis=1)
        if not looking.any():
            return None
        return np.where(looking[:, None], packed[:, :2], np.float32(np.nan))

    def features(self, pictures: Sequence[Inputs], tokens: Tensor | None = None) -> list[Tensor]:
        """Projected features [N, D] of each picture, as the model packs them.

        The pictures' inputs have the same shapes. tokens: what is added to the patch embeddings of
        all their views.
        """
        with added(self.embeddings, tokens):
            inputs = self.moved(join(pictures))
            output = self.base.get_image_features(**inputs, return_dict=True)
        packed = output.pooler_output
        self.packs_one = isinstance(packed, Tensor)
        if self.packs_one:
            packed = packed.chunk(len(pictures))
        return [part.reshape(-1, part.shape[-1]) for part in packed]

    def adapt(
        self, adapter: LatentAdapter, latents: Tensor, codes: Tensor, height: int, width: int
    ) -> Tensor:
        """An adapter's tokens for latents [B, C, h, w] and codes [B, h, w] of pictures of a size.

        As the patch embeddings put them out: [B * V, leading + T, D], of a tower without views
        [B * N, D].
        """
        geometry = self.geometry(height, width)
        sampled, quality = geometry.sample(latents, codes, width, height)
        covered = geometry.covered.repeat(len(latents), 1, 1).to(sampled.device)
        tokens = geometry.ordered(adapter(sampled, quality, covered))
        return tokens if self.grid is not None else tokens.flatten(0, 1)

    def levels(
        self, pictures: Sequence[Inputs], tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The patch embeddings with `tokens` added, and what the projector reads.

        [B * V, leading + T, D] and [B * V, T', D'], of a tower without views [B * N, D].
        """
        low: list[Tensor] = []
        high: list[Tensor] = []

        def enters(module: nn.Module, arguments: Any, output: Tensor) -> None:
            low.append(output)

        def reads(module: nn.Module, arguments: Any) -> None:
            high.append(arguments[0])
            raise _Reached

        with added(self.embeddings, tokens):
            self._run_to(
                pictures,
                self.embeddings.register_forward_hook(enters),
                self.projector.register_forward_pre_hook(reads),
            )
        return low[0], high[0]

    def patch_embeddings(self, pictures: Sequence[Inputs]) -> Tensor:
        """The first of `levels` alone, without the tower's layers."""
        low: list[Tensor] = []

        def enters(module: nn.Module, arguments: Any, output: Tensor) -> None:
            low.append(output)
            raise _Reached

        self._run_to(pictures, self.embeddings.register_forward_hook(enters))
        return low[0]

    def _run_to(self, pictures: Sequence[Inputs], *hooks: RemovableHandle) -> None:
        """Run the tower until a hook has what it wants; all of them are removed."""
        try:
            self.base.get_image_features(**self.moved(join(pictures)), return_dict=True)
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()

    def patches(self, inputs: Inputs) -> Patches:
        """The pixels of each patch that the tower is given."""
        pixels = inputs["pixel_values"]
        if pixels.dim() == 2:
            rows, columns = (int(n) for n in inputs["image_grid_thw"][0, 1:])
            views = self._unpacked(pixels).unsqueeze(0)
            return Patches(views, rows, columns, self._order(rows, columns))
        if pixels.dim() == 5:
            pixels = pixels.flatten(0, 1)
        rows, columns = (length // self.patch for length in pixels.shape[-2:])
        cut = pixels[..., : rows * self.patch, : columns * self.patch]
        cut = cut.unflatten(3, (columns, self.patch)).unflatten(2, (rows, self.patch))
        return Patches(cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2), rows, columns)

    def _unpacked(self, pixels: Tensor) -> Tensor:
        """Patches [N, 3, p, p] of rows of numbers [N, 3 * frames * p * p]: the first frame."""
        return pixels.reshape(len(pixels), 3, -1, self.patch, self.patch)[:, :, 0]

    def _measure(self, height: int, width: int) -> Geometry:
        return measure(lambda picture: self.patches(self.inputs(picture)), height, width)

    def _find_order(self, rows: int, columns: int) -> Tensor:
        def look(picture: Picture) -> Tensor:
            return self._unpacked(self.inputs(picture)["pixel_values"])

        return order_of(look, rows, columns, self.patch)

    def _laid(self, picture: Picture) -> Picture:
        """The picture, on its square where the processor is not to lay it there itself."""
        if self.layout == "processor":
            return np.require(picture, requirements="W")  # torch warns of others
        assert self.grid is not None
        at = place(picture.shape[1], picture.shape[0], self.grid * self.patch)
        fill = [round(255 * shade) for shade in self.processor.image_processor.image_mean]
        square = np.empty((at.side, at.side, 3), np.uint8)
        square[:] = fill
        scaled = Image.fromarray(picture).resize((at.width, at.height), Image.Resampling.BICUBIC)
        square[: at.height, : at.width] = np.asarray(scaled)
        return square

    def moved(self, inputs: Inputs) -> Inputs:
        """Inputs on the model's device, pixels in its type."""
        return {
            name: value.to(self.device, self.dtype if name.startswith("pixel_") else None)
            for name, value in inputs.items()
        }

    @torch.no_grad()
    def _leading(self) -> int:
        if self.grid is None:
            return 0
        side = self.grid * self.patch
        blank = torch.zeros(1, 3, side, side, device=self.device, dtype=self.dtype)
        return int(self.embeddings(blank).shape[1]) - self.grid**2


@contextmanager
def added(embeddings: nn.Module, tokens: Tensor | None) -> Iterator[None]:
    """Add `tokens` to the output of the embeddings while the context lasts.

    The hook lives for one call and holds the tokens of one batch, so no other request can get them.
    """
    if tokens is None:
        yield
        return

    def add(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return output + tokens.to(output.device, output.dtype)

    handle = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _joined(centres: Tensor, shape: Sequence[int], count: int) -> Tensor | None:
    """Centres [V, count', 2] of the features that a projector makes of tokens at [V, T, 2].

    shape: rows and columns of the tokens. It may make a feature of each, of [CLS] before them too,
    or of squares of two by two; else None.
    """
    if count in (centres.shape[1], centres.shape[1] + 1):
        return centres
    if count * MERGED != centres.shape[1]:
        return None
    rows, columns = shape
    squares: Tensor = centres.unflatten(1, (rows // 2, 2, columns // 2, 2))
    return squares.mean(dim=(2, 4)).flatten(1, 2)


def _has(holder: Any, names: tuple[str, ...]) -> bool:
    return any(isinstance(getattr(holder, name, None), nn.Module) for name in names)


def _part(holder: Any, names: tuple[str, ...], what: str) -> Any:
    for name in names:
        if isinstance(getattr(holder, name, None), nn.Module):
            return getattr(holder, name)
    raise UsageError(f"a {type(holder).__name__} has no {what} that is known")


def _one(config: Any, *names: str) -> Any:
    for name in names:
        if hasattr(config, name):
            return getattr(config, name)
    raise UsageError(f"the configuration of a {config.model_type} has no {names[0]}")


def _square(size: Any) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"the tower takes pictures or patches that are not square: {size}")
    return int(sides.pop())
