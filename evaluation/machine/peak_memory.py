"""Peak memory of one encode or one decode, in a process that does nothing else.

python -m evaluation.machine.peak_memory encode BUNDLE PICTURE STREAM    picture -> stream
python -m evaluation.machine.peak_memory decode BUNDLE STREAM
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError

STATUS = Path("/proc/self/status")


def measure(bundle: Bundle, picture: Path, stream: Path) -> tuple[float, float]:
    """Megabytes of encoding a picture file to `stream` and of decoding that, code included."""
    root = str(bundle.root.resolve())
    encoded = _child("encode", root, str(picture), str(stream))
    return encoded, _child("decode", root, str(stream))


def _child(*words: str) -> float:
    command = [sys.executable, "-m", "evaluation.machine.peak_memory", *words]
    completed = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    if completed.returncode:
        raise UsageError(f"measuring {words[0]} failed: {completed.stderr.strip()[-300:]}")
    return float(completed.stdout)


def _encode(bundle: Bundle, picture: str, stream: str) -> None:
    # The edge's code alone: what is imported counts, and torch is not at the edge.
    from edge_client.coding.encoder import Encoder
    from edge_client.pictures.images import load

    analysed = Encoder(bundle).analyse(load(picture))
    Path(stream).write_bytes(analysed.code(bundle.manifest.quality).to_bytes())


def _decode(bundle: Bundle, stream: str) -> None:
    import torch

    from cloud_server.inference.decoder import Decoder
    from shared.bitstream import Bitstream

    decoder = Decoder(bundle, torch.device("cpu"))
    decoder.decode(Bitstream.from_bytes(Path(stream).read_bytes()))


def main() -> None:
    """Do it and print the megabytes."""
    step, root, *files = sys.argv[1:]
    bundle = open_bundle(Path(root))
    if step == "encode":
        _encode(bundle, *files)
    else:
        _decode(bundle, *files)
    print(peak())


def peak() -> float:
    """Megabytes of the most memory that this process ever held."""
    if STATUS.exists():
        # On Linux ru_maxrss starts at what the parent held when it forked; VmHWM does not.
        line = next(s for s in STATUS.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
