"""Names of picture files. By itself, so that the command line needs no Pillow to read a folder."""

from __future__ import annotations

from typing import Final

SUFFIXES: Final = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".jxl")
    + (".png", ".ppm", ".tif", ".tiff", ".webp")
)
CLIP_SUFFIXES: Final = frozenset(
    (
        ".avi",
        ".flv",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ts",
        ".webm",
        ".wmv",
    )
)
