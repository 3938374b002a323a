"""The edge in TypeScript codes as the one in Python does, to the byte.

Node runs its own tests here, and with them what this file writes: latents of Python and the streams
that Python made of them. Where Node or the packages of edge_client/web are absent, nothing is run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import Picture, fit, load
from scenes import Backgrounds
from scenes.pages import Fonts, render_page
from shared.bitstream import Bitstream
from shared.bundle import embedded
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap

ROOT = Path(__file__).parents[2]
WEB = ROOT / "edge_client" / "web"
GOLDEN = ROOT / "tests" / "shared" / "golden"
PICTURES = ROOT / "cloud_server" / "playground" / "static"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (WEB / "node_modules").is_dir(),
    reason="needs Node and the packages of edge_client/web: npm install there",
)


class Cases:
    """Latents and the streams that Python makes of them, pictures before and after scaling."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: list[dict[str, str | int | None]] = []
        self._pictures: list[dict[str, str | int | list[int]]] = []
        self._maps: list[dict[str, str | int | list[int] | None]] = []

    def add_stream(
        self, bundle: str, latent: np.ndarray, stream: Bitstream, budget: int | None = None
    ) -> None:
        """latent: f32 [C, h, w]. budget: bytes that the stream was made to fit in."""
        name = f"{len(self._streams):02}-{bundle}-{stream.width}x{stream.height}"
        self._streams.append({"name": name, "bundle": bundle, "budget": budget})
        np.moveaxis(latent, 0, -1).astype("<f4").tofile(self._folder / f"{name}.f32")
        (self._folder / f"{name}.cotam").write_bytes(stream.to_bytes())

    def add_scaled(self, picture: Picture, longest: int, scaled: Picture) -> None:
        """A picture as it was, and at `longest` pixels of its long side."""
        height, width = picture.shape[:2]
        high, wide = scaled.shape[:2]
        name = f"{width}x{height}-{longest}"
        sizes: dict[str, str | int | list[int]] = {"from": [width, height], "to": [wide, high]}
        self._pictures.append({"name": name, "longest": longest, **sizes})
        (self._folder / f"{name}.from").write_bytes(picture.tobytes())
        (self._folder / f"{name}.to").write_bytes(scaled.tobytes())

    def add_map(self, name: str, picture: Picture, level_map: LevelMap | None) -> None:
        """A picture and the level map with which Python sends it."""
        height, width = picture.shape[:2]
        levels = None if level_map is None else level_map.values.flatten().tolist()
        self._maps.append({"name": name, "width": width, "height": height, "levels": levels})
        (self._folder / f"{name}.rgb").write_bytes(picture.tobytes())

    def write(self) -> None:
        """Write the list of all."""
        cases = {"streams": self._streams, "pictures": self._pictures, "maps": self._maps}
        (self._folder / "cases.json").write_text(json.dumps(cases))


class Watched:
    """An entropy model that keeps the latent which it was last given."""

    def __init__(self, model: EntropyModel) -> None:
        self._model = model

    def encode(self, latent: np.ndarray, *rest: Any) -> Any:
        """As the model's own."""
        self.latent = latent
        return self._model.encode(latent, *rest)


def add_golden(cases: Cases) -> None:
    """The latents behind the golden streams, drawn again."""
    spec = importlib.util.spec_from_file_location("golden_make_web", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    chance = np.random.default_rng(make.SEED)
    model = Watched(EntropyModel(make.network(chance)))
    for number, name in enumerate(sorted(path.name for path in GOLDEN.glob("*.cotam"))):
        stream = make.stream(model, number, chance)
        assert stream.to_bytes() == (GOLDEN / name).read_bytes()
        cases.add_stream("golden", model.latent, stream)


def add_pictures(cases: Cases) -> None:
    """Some pictures of the playground under the embedded bundle, with maps and without."""
    encoder = Encoder(embedded(), threads=1)
    for path in sorted(PICTURES.glob("*.png"))[:3]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        for guidance in (True, False):
            analysed = encoder.analyse(picture, guidance)
            for quality in (0.0, 3.0, 9.0):
                cases.add_stream("tiny", analysed.latent, analysed.code(quality))
            for budget in (400, 1500):
                stream = analysed.code_within(budget)
                cases.add_stream("tiny", analysed.latent, stream, budget)


def add_scaled(cases: Cases) -> None:
    """Noise, of which every weight of a filter can be told."""
    chance = np.random.default_rng(5)
    for width, height, longest in (
        *((300, 200, 256), (257, 31, 256), (1100, 700, 256), (640, 1280, 320), (90, 1000, 100)),
        *((1024, 513, 256), (5, 900, 64)),
    ):
        picture = chance.integers(0, 256, (height, width, 3)).astype(np.uint8)
        cases.add_scaled(picture, longest, fit(load(picture, longest=longest), longest, longest))


def add_maps(cases: Cases) -> None:
    """A scene, whose map the tower draws; pages, of which one is cut in bands; a photograph."""
    encoder = Encoder(embedded(), threads=1)
    photograph = np.ascontiguousarray(data.coffee()[:256, :256])
    pages = (
        render_page("test", 5, Fonts.pinned(), Backgrounds.builtin(), size).picture
        for size in ((384, 384), (208, 656))
    )
    scene = np.asarray(Image.open(PICTURES / "street.png").convert("RGB"))
    for name, picture in zip(
        ("scene", "photograph", "page", "long-page"), (scene, photograph, *pages), strict=True
    ):
        level_map = encoder.level_map(picture)
        assert (level_map is None) == (name == "photograph")
        cases.add_map(name, picture, level_map)


def test_typescript_codes_as_python_does(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    add_golden(cases)
    add_pictures(cases)
    add_scaled(cases)
    add_maps(cases)
    cases.write()
    for command in (["tsc", "--project", "."], ["vitest", "run"]):
        completed = subprocess.run(
            [str(WEB / "node_modules" / ".bin" / command[0]), *command[1:]],
            cwd=WEB,
            env={**os.environ, "COTAM_CASES": str(tmp_path), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
