"""A bundle of which some files change: a copy beside its place, checked, then renamed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.bundle import MANIFEST, Bundle, Manifest


@contextmanager
def changed_copy(base: Bundle, out: Path) -> Iterator[Path]:
    """The folder of a copy of `base`, to be changed. It takes its place when all went well.

    An old one is replaced. Raises BundleCorrupt where its manifest and its files then disagree.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        beside = Path(folder) / out.name
        shutil.copytree(base.root, beside)
        yield beside
        bundle = Bundle.open(beside)
        for name in bundle.manifest.files:
            bundle.path(name)  # checks its hash
        if out.exists():
            shutil.rmtree(out)
        beside.replace(out)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """manifest.json of a folder."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n")
