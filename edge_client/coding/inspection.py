"""What a stream says of itself, read without its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import CHUNK_LATENTS, CHUNK_LEVEL_MAP, Bitstream
from shared.bundle import Bundle
from shared.entropy_model import EntropyModel
from shared.errors import BundleUnknown
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement, read_layers
from shared.layers.known import Known
from shared.level_map import LevelMap, read_codes

_SIGNS: Final = {2: "-+", 3: "-.+", 5: "=-.+#"}
_CHUNKS: Final = {CHUNK_LEVEL_MAP: "level map", CHUNK_LATENTS: "latents"}


@dataclass(frozen=True)
class Inspection:
    """A stream, the quality codes i32 [h, w] of its latents, and the level map behind them.

    level_map: None for one quality everywhere. size: bytes of it all. later: the layers that
    continue it.
    """

    stream: Bitstream
    codes: NDArray[np.int32]
    level_map: LevelMap | None
    size: int
    later: tuple[Enhancement, ...] = ()

    @property
    def bpp(self) -> float:
        """Bits on the wire for each pixel."""
        return 8 * self.size / (self.stream.width * self.stream.height)

    @property
    def overhead(self) -> int:
        """Bytes that are not entropy-coded payload."""
        later = sum(len(layer.cells) + len(layer.latents) for layer in self.later)
        return self.size - len(self.stream.latents) - len(self.stream.level_map) - later

    def layers(self) -> list[dict[str, Any]]:
        """Quality, cells, check and bytes of each layer that continues the stream."""
        return [
            {
                "quality": layer.quality,
                "cells": self._cells(layer),
                "check": layer.check,
                "bytes": len(layer.to_bytes()),
            }
            for layer in self.later
        ]

    def _cells(self, layer: Enhancement) -> dict[str, int] | None:
        """How many cells of which size are chosen; None for the whole picture."""
        if not layer.cells:
            return None
        cells = Cells.decode(layer.cells, self.stream.width, self.stream.height)
        return {"chosen": int(cells.chosen.sum()), "of": cells.chosen.size, "pixels": cells.cell}

    def chunks(self) -> list[tuple[int, str, int]]:
        """Type, name and payload bytes of each chunk, in the order of the stream."""
        known = ((CHUNK_LEVEL_MAP, self.stream.level_map), (CHUNK_LATENTS, self.stream.latents))
        present = [(kind, p) for kind, p in known if p or kind == CHUNK_LATENTS]
        chunks = (*present, *self.stream.extras)
        return [(kind, _CHUNKS.get(kind, "unknown"), len(payload)) for kind, payload in chunks]

    def rows(self) -> list[str]:
        """The level map as text, one sign a cell: - fewer bits, . base, + more."""
        if self.level_map is None:
            return []
        signs = _SIGNS[self.level_map.levels]
        return ["".join(signs[level] for level in row) for row in self.level_map.values]

    def picture(self) -> NDArray[np.uint8]:
        """The level map as grey u8 [height, width], brighter where more bits go; flat: mid grey."""
        height, width = self.stream.height, self.stream.width
        if self.level_map is None:
            return np.full((height, width), 128, np.uint8)
        shades = np.linspace(0, 255, self.level_map.levels).round().astype(np.uint8)
        cell = self.level_map.cell
        return shades[self.level_map.values].repeat(cell, 0).repeat(cell, 1)[:height, :width]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        stream, level_map = self.stream, self.level_map
        return {
            "codec": stream.codec_id.hex(),
            "width": stream.width,
            "height": stream.height,
            "quality": stream.quality,
            "check": stream.check,
            "bytes": self.size,
            "bpp": round(self.bpp, 5),
            "overhead": self.overhead,
            "chunks": [{"type": k, "name": n, "bytes": b} for k, n, b in self.chunks()],
            "level_map": None
            if level_map is None
            else {
                "cell": level_map.cell,
                "levels": level_map.levels,
                "step": level_map.step / 20,
                "rows": self.rows(),
            },
            **({"layers": self.layers()} if self.later else {}),
        }


def inspect(data: bytes) -> Inspection:
    """Parse a stream. Raises the StreamError that fits."""
    stream, later = read_layers(data)
    codes, level_map = read_codes(stream)
    return Inspection(stream, codes, level_map, len(data), later)


def verify(inspection: Inspection, bundles: Sequence[Bundle]) -> Bundle:
    """Decode the symbols of a stream and its layers with a bundle of its codec, which is returned.

    Raises BundleUnknown where none of `bundles` has its codec, DecoderMismatch where the symbols
    are not those that were coded, EnhancementError where a layer does not continue the one before.
    """
    from shared.bundle import ENTROPY, find

    stream = inspection.stream
    if not bundles:
        raise BundleUnknown("there is no bundle to verify the stream with")
    bundle = find(bundles, stream.codec_id)
    model = EntropyModel.load(bundle.path(ENTROPY))
    if inspection.later:
        Known.read(stream, model, inspection.later)
    else:
        model.read(stream.latents, stream.check, inspection.codes, stream.quality_code)
    return bundle
