"""Model bundles: a directory of weights that belong together, named by its own hash.

    manifest.json       name, version, numbers below, SHA-256 of each file, licence, provenance
    guidance.onnx       edge    picture -> importance map
    encoder.onnx        edge    picture -> latent
    print.onnx          edge    latent -> cells of print (optional)
    entropy.npz         both    the integer entropy network, gains, hyper analysis
    decoder.safetensors cloud   latent -> picture
    adapter.safetensors cloud   latent -> tokens for the vision tower (optional)
    mllm/               cloud   a language model in Hugging Face form (optional)
    clip_text.safetensors  cloud   text tower of mllm's CLIP, to train on (with mllm/)

The first bytes of the SHA-256 of the manifest are the bundle id: what a device downloads. Streams
name less, the *codec id*, over the files that decode them: guidance, adapter and language model may
change without making a stream foreign. Hashes are checked when files are first used; nothing in a
bundle is ever unpickled.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.bitstream import CODEC_ID_BYTES
from shared.errors import BundleCorrupt, BundleMissing, BundleUnknown
from shared.tower import TowerSpec

FORMAT: Final = 4
MANIFEST: Final = "manifest.json"
GUIDANCE: Final = "guidance.onnx"
ENCODER: Final = "encoder.onnx"
PRINT: Final = "print.onnx"
ENTROPY: Final = "entropy.npz"
DECODER: Final = "decoder.safetensors"
ADAPTER: Final = "adapter.safetensors"
MLLM: Final = "mllm"
CODEC_FILES: Final = (DECODER, ENTROPY)
BUNDLE_ID_BYTES: Final = 4
CLIP_TEXT: Final = "clip_text.safetensors"
EMBEDDED: Final = Path(__file__).parent / "bundles"
DEFAULT: Final = "tiny"
MAX_MANIFEST_BYTES: Final = 1 << 20

Part = Literal["edge", "cloud"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    """One file of a bundle: its hash, its size, and whether the edge needs it."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    part: Part


class GuidanceSettings(_Strict):
    """How an importance map becomes a level map.

    side: pixels of the square that the guidance graph takes. k: thresholds in deviations from the
    mean. cell: pixels. step: quality codes (1/20) from the base to the next level.
    """

    side: int = Field(ge=16, le=2048)
    patch: int = Field(ge=4, le=64)
    k: float = Field(ge=0)
    cell: Literal[16, 32, 64]
    levels: Literal[2, 3, 5]
    step: int = Field(ge=0, le=75, multiple_of=5)


class CodecSettings(_Strict):
    """What streams are coded with.

    conditional: the entropy network takes latents that the decoder already has, zeros where there
    are none. layers: how many streams a picture may be sent in, each continuing those before.
    former_ids: what older streams name that this codec reads the same, oldest first.
    """

    latent_channels: int = Field(ge=1, le=512)
    conditional: bool = False
    layers: int = Field(default=1, ge=1, le=16)
    former_ids: tuple[Annotated[str, Field(pattern="^[0-9a-f]{8}$")], ...] = ()


class Manifest(_Strict):
    """manifest.json."""

    format: Literal[4]
    name: str = Field(pattern="^[a-z0-9][a-z0-9.-]{0,63}$")
    version: str
    licence: str
    resolution: int = Field(ge=16, description="long side in pixels at which pictures are coded")
    quality: float = Field(ge=0, le=9, description="default quality")
    codec: CodecSettings
    guidance: GuidanceSettings
    tower: TowerSpec
    files: dict[str, FileEntry]
    provenance: dict[str, Any]

    @property
    def codec_id(self) -> bytes:
        """What streams name: the first bytes of a SHA-256 over the names and hashes of the files
        that decode them."""
        digest = hashlib.sha256()
        for name in CODEC_FILES:
            if name in self.files:
                digest.update(f"{name} {self.files[name].sha256}\n".encode())
        return digest.digest()[:CODEC_ID_BYTES]


@dataclass(frozen=True)
class Bundle:
    """A bundle directory whose manifest is sound. Files are checked as `path` hands them out."""

    root: Path
    manifest: Manifest
    id: bytes

    @classmethod
    def open(cls, root: Path) -> Bundle:
        """Read the manifest of a bundle directory.

        Raises BundleMissing where there is none, BundleCorrupt where it is not of this form.
        """
        try:
            with (root / MANIFEST).open("rb") as file:
                raw = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise BundleMissing(
                f"there is no bundle at {root}", hint="name a folder that holds a manifest.json"
            ) from error
        if len(raw) > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(f"the manifest of {root.name} is over {MAX_MANIFEST_BYTES} bytes")
        return cls(root, parse_manifest(raw), manifest_id(raw))

    @property
    def hex_id(self) -> str:
        """The bundle id as 8 hexadecimal digits."""
        return self.id.hex()

    @property
    def codec_id(self) -> bytes:
        """The id of what decodes the streams of this bundle."""
        return self.manifest.codec_id

    def decodes(self, codec_id: bytes) -> bool:
        """Whether streams that name this id are of this bundle's codec."""
        return codec_id == self.codec_id or codec_id.hex() in self.manifest.codec.former_ids

    def has(self, name: str) -> bool:
        """Whether the manifest lists a file, or files in a folder, of that name."""
        return any(file == name or file.startswith(f"{name}/") for file in self.manifest.files)

    def path(self, name: str) -> Path:
        """Path of a file or folder of the bundle, hashes checked once a process.

        Raises BundleCorrupt where a file is absent or does not match its hash.
        """
        for file in self.manifest.files:
            if file == name or file.startswith(f"{name}/"):
                _verify(self.root / file, self.manifest.files[file].sha256)
        if not self.has(name):
            raise BundleCorrupt(f"the bundle {self.manifest.name} has no {name}")
        return self.root / name

    def files(self, part: Part) -> list[str]:
        """Names of the files of a part, manifest not among them."""
        return [name for name, entry in self.manifest.files.items() if entry.part == part]


def parse_manifest(raw: bytes) -> Manifest:
    """A manifest from its bytes. Raises BundleCorrupt."""
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleCorrupt(
            f"the manifest is not valid: {where}: {first['msg']}",
            hint="it is of another version: fetch or export it again" if where == "format" else "",
        ) from error
    for name in manifest.files:
        if name.startswith("/") or ".." in Path(name).parts or {"\\", "\0"} & set(name):
            raise BundleCorrupt(f"the manifest names a file outside of its bundle: {name!r}")
    return manifest


def manifest_id(raw: bytes) -> bytes:
    """The bundle id that the bytes of a manifest give."""
    return hashlib.sha256(raw).digest()[:BUNDLE_ID_BYTES]


def embedded(name: str = DEFAULT) -> Bundle:
    """A bundle that ships inside the package."""
    return Bundle.open(EMBEDDED / name)


def embedded_bundles() -> list[Bundle]:
    """All bundles that ship inside the package, the default first."""
    names = sorted(path.parent.name for path in EMBEDDED.glob(f"*/{MANIFEST}"))
    return [embedded(name) for name in sorted(names, key=lambda name: name != DEFAULT)]


def open_bundle(place: str | Path) -> Bundle:
    """A bundle by the name of an embedded one, or by the path of its directory."""
    if isinstance(place, str):
        with suppress(BundleMissing):
            return embedded(place)
    return Bundle.open(Path(place))


def find(bundles: Sequence[Bundle], codec_id: bytes) -> Bundle:
    """The first bundle that decodes streams of a codec.

    Raises BundleUnknown, which names the bundles that are there.
    """
    for bundle in bundles:
        if bundle.decodes(codec_id):
            return bundle
    here = ", ".join(f"{bundle.hex_id} (codec {bundle.codec_id.hex()})" for bundle in bundles)
    raise BundleUnknown(
        f"the stream was made with codec {codec_id.hex()}, which is not here",
        hint=f"encode again with one of the bundles {here}",
    )


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def describe_files(root: Path, names: Iterable[str], edge: Iterable[str]) -> dict[str, FileEntry]:
    """Manifest entries of files in `root`; those in `edge` belong to the edge part."""
    edge = set(edge)
    return {
        name: FileEntry(
            sha256=sha256_file(root / name),
            bytes=(root / name).stat().st_size,
            part="edge" if name in edge else "cloud",
        )
        for name in sorted(names)
    }


@functools.cache
def _verify(path: Path, sha256: str) -> None:
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise BundleCorrupt(
            f"the bundle lacks {path.name}", hint="fetch or export the bundle again"
        ) from error
    if digest != sha256:
        raise BundleCorrupt(
            f"{path.name} does not match its hash in the manifest",
            hint="fetch or export the bundle again",
        )
