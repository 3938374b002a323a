"""Peak memory of `edge_client encode` by format and size of the picture, at the default resolution.

python -m evaluation.machine.picture_memory [MEGAPIXELS ...]    a table, as docs/edge.md has it
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge_client.coding.benchmark import drawn
from evaluation.report.document import table
from shared.errors import UsageError

MEGAPIXELS: Final = (12, 24, 50)
FORMATS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "JPEG": ("RGB", "JPEG", {"quality": 85}),
    "JPEG, progressive": ("RGB", "JPEG", {"quality": 85, "progressive": True}),
    "PNG, TIFF, BMP": ("RGB", "PNG", {"compress_level": 1}),
    "PNG, 16 bits of grey": ("I;16", "PNG", {"compress_level": 1}),
    "AVIF": ("RGB", "AVIF", {"quality": 50, "speed": 10}),
    "WebP": ("RGB", "WEBP", {"quality": 50, "method": 0}),
}

_CHILD: Final = """
import atexit, sys
from evaluation.machine.peak_memory import peak
from edge_client.__main__ import main
atexit.register(lambda: print(peak()))
sys.argv = ["edge_client", "encode", sys.argv[1], "-o", sys.argv[2], "--quiet"]
main()
"""


def measure(name: str, megapixels: float) -> float:
    """Megabytes of a process that codes a picture of that form, code included."""
    mode, form, options = FORMATS[name]
    tile = drawn()
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    rows, columns = (-(-length // tile.shape[0]) for length in (height, width))
    pixels = np.tile(tile, (rows, columns, 1))[:height, :width]
    if mode == "I;16":
        image = Image.fromarray(pixels[:, :, 1].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels)
    with tempfile.TemporaryDirectory() as folder:
        picture, stream = Path(folder) / "picture", Path(folder) / "stream"
        image.save(picture, form, **options)
        ended = subprocess.run(
            [sys.executable, "-c", _CHILD, picture, stream],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    if ended.returncode:
        raise UsageError(f"coding the {name} failed: {ended.stderr.strip()[-300:]}")
    return float(ended.stdout)


def main(sizes: Sequence[float]) -> None:
    """Print the table."""
    head = ["", *(f"{size:g} megapixels" for size in sizes)]
    rows = [[name, *(f"{measure(name, size):.0f} MB" for size in sizes)] for name in FORMATS]
    print(table(head, rows))


if __name__ == "__main__":
    main([float(size) for size in sys.argv[1:]] or MEGAPIXELS)
