"""What `inspect` tells of a stream: header, chunk sizes, overhead, the level map drawn."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image

from shared.bitstream import Bitstream
from shared.level_map import LevelMap

SHADES: Final = {3: "-.+", 5: "=-.+#"}


def describe(data: bytes) -> dict[str, Any]:
    """Facts of a stream, ready for JSON. Raises StreamError."""
    stream = Bitstream.from_bytes(data)
    level_map = level_map_of(stream)
    coded = len(stream.latents) + max(0, len(stream.level_map) - 1)  # one byte is the map's form
    facts: dict[str, Any] = {
        "width": stream.width,
        "height": stream.height,
        "quality": stream.quality,
        "bundle": stream.bundle_id.hex(),
        "check": f"{stream.check:04x}",
        "bytes": len(data),
        "bpp": round(8 * len(data) / (stream.width * stream.height), 4),
        "latents_bytes": len(stream.latents),
        "level_map_bytes": len(stream.level_map),
        "overhead_bytes": len(data) - coded,
    }
    if level_map is not None:
        facts["level_map"] = {
            "cell": level_map.cell,
            "levels": level_map.levels,
            "step": level_map.step / 20,
            "rows": ["".join(SHADES[level_map.levels][v] for v in row) for row in level_map.values],
        }
    if stream.extras:
        facts["extra_chunks"] = [{"type": k, "bytes": len(p)} for k, p in stream.extras]
    return facts


def as_text(facts: dict[str, Any]) -> str:
    """The facts for a person, a line each, the map drawn with one sign a cell."""
    lines = [f"{name.replace('_', ' '):16} {facts[name]}" for name in facts if name != "level_map"]
    level_map = facts.get("level_map")
    if level_map:
        lines.append(
            f"{'level map':16} {level_map['levels']} levels on cells of {level_map['cell']} pixels, "
            f"quality step {level_map['step']:g}: + more bits, - fewer"
        )
        lines += ["  " + " ".join(row) for row in level_map["rows"]]
    return "\n".join(lines)


def level_map_of(stream: Bitstream) -> LevelMap | None:
    """The level map of a stream, None where it has none. Raises StreamMalformed."""
    if not stream.level_map:
        return None
    return LevelMap.decode(stream.level_map, stream.width, stream.height)


def level_map_png(stream: Bitstream) -> bytes:
    """The level map as a grey PNG of the picture's size: white has most bits, grey the base."""
    level_map = level_map_of(stream)
    if level_map is None:
        grey = np.full((stream.height, stream.width), 128, np.uint8)
    else:
        shades = (level_map.values.astype(np.float64) * 255 / (level_map.levels - 1)).round()
        cells = shades.astype(np.uint8).repeat(level_map.cell, 0).repeat(level_map.cell, 1)
        grey = cells[: stream.height, : stream.width]
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    return out.getvalue()
