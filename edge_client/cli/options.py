"""Options that several commands share."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_client.server.query import AskBack
from edge_client.settings import Resolved, resolve
from edge_client.spool.store import MAX_AGE, MAX_BYTES, Spool
from shared.errors import UsageError
from shared.files import xdg
from shared.layers.enhancement import MAX_LAYERS

if TYPE_CHECKING:
    from edge_client.coding.clip_coder import ClipOptions
    from edge_client.pictures.clips import Pick
    from edge_client.pictures.images import Resolution

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PICTURE...",
        help="Files, folders, quoted patterns, URLs, or - for standard input.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="The server. (env: COTAM_SERVER_URL)"),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        help="Sent as a bearer token. Rather set it as COTAM_API_KEY: arguments can be seen.",
    ),
]
BundleName = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        "-b",
        metavar="NAME|ID|DIR|URL",
        help="Weights to code with, also https://... or hf:ORG/NAME[@REVISION]. (env: "
        "COTAM_EDGE_BUNDLE; default: those that the server takes)",
    ),
]
Quality = Annotated[
    float | None,
    typer.Option(
        "--quality", "-q", min=0.0, max=9.0, help="0 smallest, 9 best. (default: the bundle's)"
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="BYTES",
        help="The best quality that fits, as 1500, 1500B, 1.5kB or 2KiB; instead of --quality.",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="Q,Q,...",
        help="Rising qualities, as 0,2,4: one file, of which each beginning by whole layers is a "
        "picture; instead of --quality.",
    ),
]
CellsText = Annotated[
    str | None,
    typer.Option(
        "--cells",
        metavar="BASE64",
        help="With --layers: the cells that layers after the first make finer, as a server's "
        "`need` names them.",
    ),
]
ResolutionText = Annotated[
    str,
    typer.Option(
        "--resolution",
        "-r",
        metavar="model|native|N",
        help="Long side in pixels at which pictures are coded. model: what the server's language "
        "model can use (256 for tiny); native: as they are. Aspect is kept, nothing is scaled up.",
    ),
]
NoGuidance = Annotated[
    bool, typer.Option("--no-guidance", help="One quality everywhere, no importance map.")
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", "-c", min=1, max=64, help="Pictures under way at a time.")
]
RetryCount = Annotated[
    int,
    typer.Option("--retries", min=0, max=100, help="Tries after the first, ever further apart."),
]
Frames = Annotated[
    str | None,
    typer.Option(
        "--frames",
        metavar="N|Nfps|all",
        help="Of a clip: so many spread evenly (8 where nothing is said), so many a second, or all "
        "of them. With it a folder is a clip.",
    ),
]
OnChange = Annotated[
    bool, typer.Option("--on-change", help="Of a clip: leave out frames in which nothing changed.")
]
Rate = Annotated[
    str | None,
    typer.Option("--rate", metavar="BYTES/s", help="Of a clip, as 2kB/s: the best that fits."),
]
KeyEvery = Annotated[
    int,
    typer.Option("--key-every", min=1, max=65_535, help="Frames from one keyframe to the next."),
]
_SECONDS = "seconds"
ConnectTimeout = Annotated[
    float,
    typer.Option("--connect-timeout", metavar=_SECONDS, min=0.01, help="To reach the server."),
]
SendTimeout = Annotated[
    float,
    typer.Option("--send-timeout", metavar=_SECONDS, min=0.01, help="To hand a question over."),
]
AnswerTimeout = Annotated[
    float, typer.Option("--answer-timeout", metavar=_SECONDS, min=0.01, help="For an answer.")
]
PoolTimeout = Annotated[
    float,
    typer.Option("--pool-timeout", metavar=_SECONDS, min=0.01, help="For a free connection."),
]
AskBackFlag = Annotated[
    bool | None,
    typer.Option(
        "--ask-back/--no-ask-back",
        help="Send pictures small, and more of them where an answer is not sure. "
        "(env: COTAM_ASK_BACK)",
        show_default=False,
    ),
]
FocusFlag = Annotated[
    bool | None,
    typer.Option(
        "--focus/--no-focus",
        help="Fewer bits for what the question does not name, where the bundle knows its words. "
        "(env: COTAM_FOCUS)",
        show_default=False,
    ),
]
TargetConfidence = Annotated[
    float | None,
    typer.Option(
        "--target-confidence",
        metavar="0..1",
        help="With --ask-back: from which an answer is sure. (default: the server's)",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Code, and say what would be sent or written.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No talk but errors.")]


def parse_resolution(text: str) -> Resolution:
    """model, native or a number of pixels. Raises UsageError."""
    if text == "model":
        return "model"
    if text == "native":
        return "native"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"--resolution is {text!r}", hint="model, native or a number of pixels")


def parse_bytes(text: str, flag: str) -> int:
    """A size: a number of bytes, or with B, kB, KiB, MB, MiB, GB, GiB. Raises UsageError."""
    number = text.rstrip("BKMGkibmg")
    unit = text[len(number) :].strip().lower()
    units = {"": 1, "b": 1, "k": 1000, "kb": 1000, "m": 10**6, "mb": 10**6, "g": 10**9}
    units |= {"gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
    try:
        size = int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"{flag} is {text!r}", hint="a size such as 1500B, 1.5kB or 64MiB")
    return size


def parse_budget(text: str | None, quality: float | None) -> int | None:
    """Bytes of --budget. Raises UsageError, also where --quality was given as well."""
    if text is None:
        return None
    if quality is not None:
        raise UsageError("--budget and --quality exclude each other", hint="give one of them")
    return parse_bytes(text, "--budget")


def parse_layers(text: str | None, quality: float | None, budget: str | None) -> list[float]:
    """Qualities of --layers, none where it is not given.

    Raises UsageError, also where --quality or --budget was given as well.
    """
    if text is None:
        return []
    if quality is not None or budget is not None:
        raise UsageError("--layers names the qualities itself", hint="no --quality, no --budget")
    try:
        layers = [float(part) for part in text.split(",")]
    except ValueError:
        layers = []
    rising = all(low < high for low, high in itertools.pairwise(layers))
    if not layers or not rising or len(layers) > MAX_LAYERS:
        raise UsageError(
            f"--layers is {text!r}", hint=f"up to {MAX_LAYERS} rising qualities, as 0,2,4"
        )
    return layers


def parse_clip(
    frames: str | None,
    on_change: bool,
    every: int,
    rate: str | None,
    budget: int | None,
    quality: float | None,
) -> ClipOptions:
    """How clips are coded. Raises UsageError."""
    from edge_client.coding.clip_coder import ClipOptions

    if rate is not None and (budget is not None or quality is not None):
        raise UsageError("--rate excludes --budget and --quality", hint="give one of them")
    most = None
    if rate is not None:
        if not rate.endswith("/s"):
            raise UsageError(f"--rate is {rate!r}", hint="bytes a second, such as 2kB/s")
        most = float(parse_bytes(rate.removesuffix("/s"), "--rate"))
    return ClipOptions(parse_frames(frames, on_change), on_change, every, most, budget)


def parse_frames(text: str | None, on_change: bool = False) -> Pick:
    """Which frames of a clip. Raises UsageError."""
    from edge_client.pictures.clips import ALL, Pick

    if text is None:
        return Pick(None, 2.0) if on_change else Pick()
    if text == "all":
        return ALL
    try:
        if text.endswith("fps"):
            rate = float(text.removesuffix("fps"))
            if 0 < rate <= 1000:
                return Pick(None, rate)
        elif text.isascii() and text.isdigit() and int(text) > 0:
            return Pick(int(text))
    except ValueError:
        pass
    raise UsageError(f"--frames is {text!r}", hint="a number, a rate such as 2fps, or all")


def resolve_options(
    server: str | None = None,
    api_key: str | None = None,
    bundle: str | None = None,
    ask_back: bool | None = None,
    focus: bool | None = None,
) -> Resolved:
    """Settings of the flags, the environment and the config file."""
    flags = {"server": server, "api_key": api_key, "bundle": bundle}
    choices = {"ask_back": ask_back, "focus": focus}
    chosen = {n: None if c is None else ("yes" if c else "no") for n, c in choices.items()}
    return resolve({**flags, **chosen}, os.environ)


def wish_of(resolved: Resolved, confidence: float | None) -> AskBack | None:
    """What is wished of an answer. Raises UsageError for a confidence without --ask-back."""
    if resolved.settings.ask_back == "yes":
        return AskBack(confidence)
    if confidence is not None:
        raise UsageError("--target-confidence goes with --ask-back", hint="give both")
    return None


def open_spool() -> Spool:
    """The spool of this user: in COTAM_SPOOL, or `cotam/spool` of the XDG state directory.

    COTAM_SPOOL_BYTES (as 64MiB) and COTAM_SPOOL_DAYS bound it. Raises UsageError.
    """
    named = os.environ.get("COTAM_SPOOL")
    root = Path(named) if named else xdg("XDG_STATE_HOME", ".local/state") / "spool"
    most = os.environ.get("COTAM_SPOOL_BYTES")
    days = os.environ.get("COTAM_SPOOL_DAYS")
    try:
        age = float(days) * 86_400 if days else MAX_AGE
    except ValueError:
        age = 0.0
    if not age > 0:  # nor is it where it is no number
        raise UsageError(f"COTAM_SPOOL_DAYS is {days!r}", hint="a number of days")
    return Spool(root, parse_bytes(most, "COTAM_SPOOL_BYTES") if most else MAX_BYTES, age)
