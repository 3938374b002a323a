"""Bundles: what is damaged, absent or hostile is refused before it is used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import bundle as bundles
from shared.bundle import (
    Bundle,
    describe_files,
    embedded,
    find,
    manifest_id,
    open_bundle,
    parse_manifest,
)
from shared.errors import BundleCorrupt, BundleMissing, BundleUnknown

TOWER: dict[str, Any] = {
    **{"model": "llava", "vision": "clip_vision_model", "width": 8, "heads": 2, "patch": 16},
    **{"grid": 4, "leading": 1, "layer": -2, "layout": "processor", "fingerprint": "00" * 64},
    **{"mean": [0.5, 0.5, 0.5], "deviation": [0.5, 0.5, 0.5], "fill": [128, 128, 128]},
}


def manifest(root: Path, **changed: Any) -> dict[str, Any]:
    """A manifest of what lies in `root`, with fields replaced; None takes a field away."""
    names = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
    files = describe_files(root, names, edge=["encoder.onnx"])
    fields: dict[str, Any] = {
        "format": bundles.FORMAT,
        "name": "little",
        "version": "1.0",
        "licence": "Apache-2.0",
        "resolution": 256,
        "quality": 3.0,
        "codec": {"latent_channels": 8, "former_ids": ["0badcafe"]},
        "tower": TOWER,
        "guidance": {"side": 64, "patch": 16, "k": 0.75, "cell": 32, "levels": 3, "step": 30},
        "files": {name: entry.model_dump() for name, entry in files.items()},
        "provenance": {"hardware": "none"},
        **changed,
    }
    return {name: value for name, value in fields.items() if value is not None}


def write(root: Path, **changed: Any) -> bytes:
    raw = json.dumps(manifest(root, **changed)).encode()
    (root / bundles.MANIFEST).write_bytes(raw)
    return raw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle directory of small made-up files."""
    folder = tmp_path / "little"
    (folder / "mllm").mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(b"not really a graph")
    (folder / "mllm" / "config.json").write_bytes(b"{}")
    (folder / "mllm" / "model.safetensors").write_bytes(b"")
    write(folder)
    return folder


def test_a_bundle_is_named_by_the_hash_of_its_manifest(root: Path) -> None:
    raw = (root / bundles.MANIFEST).read_bytes()
    opened = Bundle.open(root)
    assert opened.id == manifest_id(raw) == hashlib.sha256(raw).digest()[:4]
    assert opened.hex_id == opened.id.hex()
    write(root, version="1.1")
    assert Bundle.open(root).id != opened.id


def test_files_by_name_folder_and_part(root: Path) -> None:
    opened = Bundle.open(root)
    assert opened.path("encoder.onnx").read_bytes() == b"not really a graph"
    assert opened.path("mllm") == root / "mllm"
    assert opened.has("mllm")
    assert not opened.has("ml")
    assert not opened.has("adapter.safetensors")
    assert opened.files("edge") == ["encoder.onnx"]
    assert opened.files("cloud") == ["mllm/config.json", "mllm/model.safetensors"]
    with pytest.raises(BundleCorrupt, match=r"no adapter\.safetensors"):
        opened.path("adapter.safetensors")


def test_a_changed_file_is_corrupt(root: Path) -> None:
    (root / "mllm" / "config.json").write_bytes(b"[]")
    opened = Bundle.open(root)
    assert opened.path("encoder.onnx")
    with pytest.raises(BundleCorrupt, match=r"config\.json"):
        opened.path("mllm")


def test_an_absent_file_is_corrupt(root: Path) -> None:
    (root / "encoder.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"lacks encoder\.onnx"):
        Bundle.open(root).path("encoder.onnx")


def test_a_folder_without_a_manifest_is_missing(root: Path, tmp_path: Path) -> None:
    (root / bundles.MANIFEST).unlink()
    for place in (root, tmp_path / "absent", root / "encoder.onnx"):
        with pytest.raises(BundleMissing):
            Bundle.open(place)
        with pytest.raises(BundleMissing):
            open_bundle(place)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../outside",
        "mllm/../../outside",
        "..",
        "..\\outside",
        "C:\\outside",
        "nul\0byte",
        "",
        ".",
    ],
)
def test_no_file_is_named_outside_of_its_bundle(root: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "bytes": 0, "part": "edge"}
    write(root, files={name: entry})
    with pytest.raises(BundleCorrupt):
        Bundle.open(root).path(name)


@pytest.mark.parametrize(
    "changed",
    [
        {"format": bundles.FORMAT - 1},
        {"format": bundles.FORMAT + 1},
        {"name": "Not A Name"},
        {"name": None},
        {"quality": 10},
        {"quality": float("nan")},
        {"resolution": 0},
        {"codec": {"latent_channels": 0}},
        {"codec": {"latent_channels": 8, "former_ids": ["tiny"]}},
        {"codec": {"latent_channels": 8, "layers": 0}},
        {"tower": None},
        {"tower": {**TOWER, "fingerprint": "00"}},
        {"tower": {**TOWER, "layer": 3}},
        {"tower": {**TOWER, "fill": [0, 0, 256]}},
        {"guidance": {"side": 64}},
        {"guidance": {"side": 64, "patch": 16, "k": 1, "cell": 32, "levels": 3, "step": 32}},
        {"guidance": {"side": 64, "patch": 16, "k": 1, "cell": 20, "levels": 3, "step": 30}},
        {"files": {"a": {"sha256": "xyz", "bytes": 0, "part": "edge"}}},
        {"files": {"a": {"sha256": "0" * 64, "bytes": -1, "part": "edge"}}},
        {"files": {"a": {"sha256": "0" * 64, "bytes": 0, "part": "both"}}},
        {"surprise": 1},
    ],
)
def test_manifests_of_another_form_are_corrupt(root: Path, changed: dict[str, Any]) -> None:
    write(root, **changed)
    with pytest.raises(BundleCorrupt):
        Bundle.open(root)


def test_a_bundle_of_another_version_is_told_what_to_do(root: Path) -> None:
    write(root, format=1)
    with pytest.raises(BundleCorrupt, match=r"format: .* \(it is of another version: fetch"):
        Bundle.open(root)


@given(st.binary(max_size=300))
@example(b"{}")
@example(b"[" * 100_000)
@example(b'{"format": "\\ud800"}')
@example(b'{"format": ' + b"9" * 5_000 + b"}")
def test_any_bytes_are_a_corrupt_manifest(raw: bytes) -> None:
    with pytest.raises(BundleCorrupt):
        parse_manifest(raw)


def test_an_endless_manifest_is_not_read(root: Path) -> None:
    (root / bundles.MANIFEST).write_bytes(b" " * (bundles.MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleCorrupt, match="over"):
        Bundle.open(root)


def test_the_bundle_of_a_stream_is_found_by_its_codec(root: Path) -> None:
    here = Bundle.open(root)
    assert find([here], here.codec_id) is here
    assert find([here], bytes.fromhex("0badcafe")) is here
    with pytest.raises(BundleUnknown, match=here.hex_id):
        find([here], b"\xff\xff\xff\xff")


def test_a_codec_is_named_by_the_files_that_decode_its_streams(root: Path) -> None:
    codec = hashlib.sha256()
    for name in (bundles.DECODER, bundles.ENTROPY):
        (root / name).write_bytes(name.encode())
        codec.update(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n".encode())
    write(root)
    before = Bundle.open(root)
    assert before.codec_id == codec.digest()[:4]
    (root / bundles.ADAPTER).write_bytes(b"another adapter")
    write(root, name="other", codec={"latent_channels": 8})
    after = Bundle.open(root)
    assert after.id != before.id
    assert after.codec_id == before.codec_id
    for name in (bundles.DECODER, bundles.ENTROPY):
        (root / name).write_bytes(b"another codec")
        write(root)
        codec_id = Bundle.open(root).codec_id
        assert codec_id not in (before.codec_id, after.codec_id)
        after = Bundle.open(root)


@pytest.mark.parametrize(
    ("name", "former"), [("tiny-0.1.0", "9f4eff01"), ("tiny-joint", "f332e89f")]
)
def test_streams_that_named_the_bundle_still_name_its_codec(name: str, former: str) -> None:
    """Both were shipped under these ids before streams named codecs."""
    assert find(bundles.embedded_bundles(), bytes.fromhex(former)) == embedded(name)


def test_embedded_bundles_are_whole(bundle: Bundle) -> None:
    assert open_bundle(bundles.DEFAULT).id == bundle.id
    for shipped in bundles.embedded_bundles():
        for name, entry in shipped.manifest.files.items():
            assert shipped.path(name).stat().st_size == entry.bytes
    edge = sum(bundle.manifest.files[name].bytes for name in bundle.files("edge"))
    assert edge <= 12_000_000
    assert sum(entry.bytes for entry in bundle.manifest.files.values()) <= 45_000_000
