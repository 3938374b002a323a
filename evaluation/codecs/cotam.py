"""Our codec as it is used: the edge's encoder, bytes, the cloud's decoder."""

from __future__ import annotations

from dataclasses import replace

import torch

from cloud_server.inference.adapter import Adapters
from cloud_server.inference.decoder import Decoded, Decoder
from edge_client.coding.encoder import Analysed, Encoder
from edge_client.pictures.images import Picture
from shared.bitstream import Bitstream
from shared.bundle import ADAPTER, MLLM, Bundle
from shared.nets.model_files import load_vision

NO_BUNDLE = b""

Received = tuple[int, Decoded]
"""Bytes on the wire, and what the model gets."""


class CotamCodec:
    """Encoder and decoder of one bundle, joined by nothing but bytes."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.encoder = Encoder(bundle, threads)
        self.decoder = Decoder(bundle, torch.device("cpu"))

    def analyse(self, picture: Picture, guidance: bool) -> Analysed:
        """A picture u8 [H, W, 3] after the transform."""
        return self.encoder.analyse(picture, guidance)

    def encode(self, analysed: Analysed, quality: float) -> bytes:
        """A stream at a quality of 0 to 9."""
        return analysed.code(quality).to_bytes()

    def decode(self, stream: bytes) -> Decoded:
        """What the vision tower is given of a stream."""
        return self.decoder.decode(Bitstream.from_bytes(stream))

    def send(self, analysed: Analysed, quality: float) -> Received:
        """From one end to the other at a quality of 0 to 9."""
        stream = self.encode(analysed, quality)
        return len(stream), self.decode(stream)


def adapters_of(bundle: Bundle) -> Adapters | None:
    """The bundle's adapter for the tower of its own language model."""
    if not (bundle.has(ADAPTER) and bundle.has(MLLM)):
        return None
    vision = load_vision(str(bundle.path(MLLM)), torch.device("cpu"), torch.float32)
    return Adapters([bundle], vision)


def bare(picture: Picture) -> Decoded:
    """A picture of another codec, or of none, as the language model's backend takes it."""
    return Decoded(picture, torch.zeros(0), picture[:0, :0, 0], None, NO_BUNDLE)


def without_adapter(decoded: Decoded) -> Decoded:
    """The decoded picture alone: no adapter belongs to no bundle."""
    return replace(decoded, bundle_id=NO_BUNDLE)
