"""The typefaces of pages: families of the package registry, pinned, so that anyone has the same.

Each family is one package (`fontpkg-inter` holds Inter), named with its version in the extra
`pages` of pyproject.toml. Packages are located, never imported, and no font is in the repository.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ImageFont

ROLES: Final = ("sans", "serif", "mono", "narrow", "display", "hand")

_ROLE_OF: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("arimo", "fira-sans", "ibm-plex-sans", "inter", "lato", "montserrat", "noto-sans"),
            *("nunito-sans", "open-sans", "overpass", "poppins", "pt-sans", "public-sans"),
            *("roboto", "source-sans-3", "work-sans"),
        ),
        "sans",
    ),
    **dict.fromkeys(
        (
            *("crimson-text", "eb-garamond", "libre-baskerville", "lora", "playfair-display"),
            *("pt-serif", "roboto-slab", "source-serif-4", "zilla-slab"),
        ),
        "serif",
    ),
    **dict.fromkeys(
        (
            *("ibm-plex-mono", "inconsolata", "jetbrains-mono", "roboto-mono"),
            *("source-code-pro", "space-mono"),
        ),
        "mono",
    ),
    **dict.fromkeys(
        ("archivo-narrow", "barlow-condensed", "bebas-neue", "oswald", "roboto-condensed"),
        "narrow",
    ),
    **dict.fromkeys(("abril-fatface", "alfa-slab-one", "anton", "lobster", "righteous"), "display"),
    **dict.fromkeys(("caveat", "kalam", "permanent-marker"), "hand"),
}

FAMILIES: Final = tuple(sorted(_ROLE_OF))
"""All pinned families, 44 of them."""

HELD_OUT: Final = frozenset(
    {
        *("work-sans", "ibm-plex-sans", "pt-sans", "lora", "pt-serif", "zilla-slab"),
        *("roboto-mono", "archivo-narrow", "righteous", "kalam"),
    }
)
"""Families that only the test split prints: what is learnt there must hold for other fonts."""


@dataclass(frozen=True)
class Cut:
    """One file of a typeface; a variable file has every weight."""

    path: Path
    weight: int
    italic: bool
    variable: bool


@dataclass(frozen=True)
class Typeface:
    """A family of fonts that look alike; no cuts: Pillow's own font."""

    name: str
    role: str
    version: str
    cuts: tuple[Cut, ...] = ()

    def at(self, size: float, weight: int = 400, italic: bool = False) -> ImageFont.FreeTypeFont:
        """The font of `size` pixels an em, in the cut that is nearest to what is wanted."""
        if not self.cuts:
            return _own(size)
        cut = min(self.cuts, key=lambda c: (c.italic != italic, abs(c.weight - weight)))
        return _font(cut.path, round(size * 4) / 4, weight if cut.variable else 0)


class Fonts:
    """An ordered set of typefaces, and what tells it from another."""

    def __init__(self, typefaces: Sequence[Typeface]) -> None:
        self.typefaces = tuple(typefaces)
        names = "\n".join(f"{face.name} {face.version}" for face in self.typefaces)
        self.digest = hashlib.sha256(names.encode()).hexdigest()[:16]

    @classmethod
    def pinned(cls) -> Fonts:
        """The families of the extra `pages`; raises ValueError where one is missing."""
        faces = [_packaged(family) for family in FAMILIES]
        missing = [name for name, face in zip(FAMILIES, faces, strict=True) if face is None]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(FAMILIES)} fonts are missing ({missing[0]}, ...): "
                "pip install 'cotam[pages]'"
            )
        return cls([face for face in faces if face is not None])

    @classmethod
    def installed(cls) -> Fonts:
        """Pinned families that are there, then matplotlib's DejaVu, then Pillow's own font.

        Its pages are no one else's: numbers are told with the digest.
        """
        faces = [face for family in FAMILIES if (face := _packaged(family)) is not None]
        own = Typeface("pillow", "sans", importlib.metadata.version("pillow"))
        return cls([*faces, *_matplotlib(), own])

    def without(self, names: frozenset[str]) -> Fonts:
        """The typefaces that are not named, or all where none would be left."""
        rest = [face for face in self.typefaces if face.name not in names]
        return Fonts(rest) if rest else self

    def pick(self, rng: np.random.Generator, *roles: str) -> Typeface:
        """One typeface of the roles; of all where none has such a role."""
        fit = [face for face in self.typefaces if face.role in roles] or list(self.typefaces)
        return fit[int(rng.integers(len(fit)))]


def _packaged(family: str) -> Typeface | None:
    spec = importlib.util.find_spec(f"fontpkg_{family.replace('-', '_')}")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    files = json.loads((root / "metadata.json").read_text())["files"]
    cuts = [
        Cut(
            root / file["path"],
            400 if file["variable"] else int(file["weight"]),
            file["style"] == "italic",
            file["variable"],
        )
        for file in files
    ]
    version = importlib.metadata.version(f"fontpkg-{family}")
    return Typeface(family, _ROLE_OF[family], version, tuple(cuts))


def _matplotlib() -> list[Typeface]:
    """The DejaVu families inside the matplotlib package, which is located, never imported."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    version = importlib.metadata.version("matplotlib")
    families = {"DejaVuSans": "sans", "DejaVuSerif": "serif", "DejaVuSansMono": "mono"}
    return [
        Typeface(
            name,
            role,
            version,
            (
                Cut(folder / f"{name}.ttf", 400, False, False),
                Cut(folder / f"{name}-Bold.ttf", 700, False, False),
            ),
        )
        for name, role in families.items()
    ]


@functools.lru_cache(maxsize=1024)
def _font(path: Path, size: float, weight: int) -> ImageFont.FreeTypeFont:
    """`weight` 0: the file has but one."""
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    if weight:
        axes = [
            min(max(weight, axis["minimum"] or 0), axis["maximum"] or 0)
            if axis["name"] == b"Weight"
            else axis["default"] or 0
            for axis in font.get_variation_axes()
        ]
        font.set_variation_by_axes([float(value) for value in axes])
    return font


@functools.lru_cache(maxsize=256)
def _own(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("pages need a Pillow that was built with FreeType (for its own font)")
    return font
