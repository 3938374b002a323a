"""Write a bundle as a repository of Hugging Face's hub: its files, a model card, LFS attributes.

bundle --copied, hashes checked--> folder + README.md + .gitattributes --upload--> hf:ORG/NAME

Nothing is uploaded here: `hf upload ORG/NAME FOLDER` of Hugging Face's own tools does that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from shared.bundle import MANIFEST, Bundle, open_bundle
from shared.errors import UsageError

CARD: Final = "README.md"
ATTRIBUTES: Final = ".gitattributes"
_LARGE: Final = ("*.npz", "*.onnx", "*.safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="what the card calls it")
    parser.add_argument("--out", type=Path, required=True, help="new folder")


def main(arguments: argparse.Namespace) -> None:
    """Write the folder whole or not at all. Raises UsageError where it exists, BundleCorrupt."""
    bundle, out = open_bundle(arguments.bundle), arguments.out
    if out.exists():
        raise UsageError(f"{out} exists", hint="name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for name in bundle.manifest.files:
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), beside / name)
        shutil.copyfile(bundle.root / MANIFEST, beside / MANIFEST)
        (beside / CARD).write_text(card(bundle, arguments.repo))
        attributes = [f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LARGE]
        (beside / ATTRIBUTES).write_text("".join(attributes))
        beside.chmod(0o755)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(f"{out}: bundle {bundle.hex_id}; upload it with: hf upload {arguments.repo} {out}")


def card(bundle: Bundle, repo: str) -> str:
    """The model card of a bundle, all of it from its manifest."""
    manifest = bundle.manifest
    tower = manifest.tower
    head = {
        "license": manifest.licence.lower(),
        "library_name": "cotam",
        "pipeline_tag": "image-to-image",
        "tags": ["cotam", "image-compression", "coding-for-machines", "onnx"],
    }
    rows = [
        ("bundle", f"`{bundle.hex_id}`"),
        ("codec", f"`{bundle.codec_id.hex()}`"),
        ("version", manifest.version),
        ("long side of pictures", f"{manifest.resolution} pixels"),
        ("default quality", f"{manifest.quality:g} of 9"),
        ("vision tower", f"{tower.vision} of a {tower.model}, {tower.width} wide"),
    ]
    files = [
        f"| `{name}` | {entry.part} | {entry.bytes} | `{entry.sha256}` |"
        for name, entry in manifest.files.items()
    ]
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in head.items()),
        "---",
        "",
        f"# {manifest.name}: a CoTAM bundle",
        "",
        "Weights that code pictures for multimodal language models, and decode them again.",
        "The edge part runs on a device, the cloud part beside the model.",
        "",
        f'    edge_client send street.png "how many cars?" --bundle hf:{repo}',
        f"    cloud_server serve --bundle hf:{repo}",
        "",
        "Every file is checked against the hashes below as it is fetched, and kept.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "| file | part | bytes | SHA-256 |",
        "|---|---|---|---|",
        *files,
        "",
        "## How it was made",
        "",
        "```json",
        json.dumps(manifest.provenance, indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"
