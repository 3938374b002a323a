"""Small models of all classes, and what Hugging Face's own road makes of pictures and clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from cloud_server.inference.decoder import Decoded
from shared import bundle as bundles
from shared.bundle import Bundle, describe_files
from shared.nets.adapter import AdapterConfig, LatentAdapter, save_adapter
from shared.nets.vision import Vision


class Loaded:
    """A small model of a class."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor: Any = AutoProcessor.from_pretrained(folder)

    def reference(self, pictures: Sequence[np.ndarray], prompt: str, count: int) -> str:
        """The answer about pictures."""
        images = [{"type": "image", "image": Image.fromarray(picture)} for picture in pictures]
        return self._generate(images, prompt, count)

    def reference_of_clip(
        self, frames: Sequence[np.ndarray], prompt: str, count: int, **options: Any
    ) -> str:
        """The answer about a clip, all of whose frames are shown."""
        clip = [{"type": "video", "video": np.stack(frames)}]
        return self._generate(clip, prompt, count, do_sample_frames=False, **options)

    def _generate(
        self, shown: list[dict[str, Any]], prompt: str, count: int, **options: Any
    ) -> str:
        turns = [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
        inputs = self.processor.apply_chat_template(
            turns,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=options,
        )
        with torch.inference_mode():
            made = self.model.generate(**inputs, max_new_tokens=count, do_sample=False)
        tokens = made[0, inputs["input_ids"].shape[1] :]
        text: str = self.processor.decode(tokens, skip_special_tokens=True)
        return text.strip()


def write_bundle(bundle: Bundle, vision: Vision, folder: Path, deviation: float) -> Bundle:
    """The codec of `bundle` with an adapter for another tower, random of that deviation."""
    spec = vision.spec()
    channels = bundle.manifest.codec.latent_channels
    adapter = LatentAdapter(
        AdapterConfig(channels, spec.width, spec.grid or 8, spec.heads, leading=spec.leading)
    )
    with torch.no_grad():
        adapter.leave.weight.normal_(0.0, deviation or 1e-30).mul_(float(deviation > 0))
    folder.mkdir(parents=True)
    for name in (bundles.GUIDANCE, bundles.ENCODER, bundles.ENTROPY, bundles.DECODER):
        shutil.copy(bundle.path(name), folder)
    save_adapter(adapter, folder / bundles.ADAPTER)
    edge = (bundles.GUIDANCE, bundles.ENCODER, bundles.ENTROPY)
    files = describe_files(folder, [path.name for path in folder.iterdir()], edge)
    manifest = bundle.manifest.model_copy(update={"name": "mine", "files": files, "tower": spec})
    (folder / bundles.MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json")))
    return Bundle.open(folder)


def random_picture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth picture u8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def as_decoded(picture: np.ndarray, seed: int = 0) -> Decoded:
    """A picture with a random latent, of no bundle."""
    rows, columns = (-(-length // 16) for length in picture.shape[:2])
    latent = 60 * torch.randn(192, rows, columns, generator=torch.Generator().manual_seed(seed))
    return Decoded(picture, latent, np.full((rows, columns), 60), None, b"none")
