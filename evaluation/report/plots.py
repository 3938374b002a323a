"""The look of the plots. Figures are made without pyplot: no global state, no window."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shared.files import whole_file

COLOURS: Final = {
    "JPEG": "#9a9a9a",
    "WebP": "#c58f2c",
    "AVIF": "#2a9d5c",
    "ours": "#c2256b",
    "base": "#2b6cb0",
    "guidance": "#6aa5d8",
    "adapter": "#8e5bb5",
    "full": "#c2256b",
}
OTHERS: Final = ("#d9622b", "#2f8f9d", "#5b5b5b")
LABELS: Final = {"ours": "CoTAM"}
"""What legends and titles call a codec whose records have another name."""

DOTS_PER_INCH: Final = 220  # twice what a page shows, for dense screens
MARKERS: Final = {"JPEG": "s", "WebP": "^", "AVIF": "D"}


def figure(columns: int, rows: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure and its axes in reading order; width and height in inches for each."""
    made = Figure(figsize=(columns * width, rows * height), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#e6e6e6", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.set_prop_cycle(color=OTHERS)
        axis.tick_params(labelsize=8, color="#999999")
    return made, axes


def line(axis: Any, x: Any, y: Any, name: str, label: str, **more: Any) -> None:
    """A curve in the colour that its codec has in every plot."""
    is_cotam = name not in MARKERS
    style: dict[str, Any] = {
        "linewidth": 2.0 if is_cotam else 1.4,
        "markersize": 4.5,
        "marker": MARKERS.get(name, "o"),
    }
    # Codecs beyond the usual take the colours of OTHERS, in order.
    if name in COLOURS:
        style["color"] = COLOURS[name]
    axis.plot(x, y, label=label, **{**style, **more})


def log_bytes(axis: Any, ticks: tuple[int, ...] = (200, 500, 1000, 2000, 5000, 10000)) -> None:
    """Bytes over the logarithm, with whole numbers at the given ticks inside the data's range."""
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    inside = [tick for tick in ticks if low <= tick <= high]
    axis.set_xticks(inside, [f"{tick:,}" for tick in inside])
    axis.minorticks_off()


def save(made: Figure, path: Path) -> None:
    """Write a PNG whole or not at all; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        made.savefig(file, format="png", metadata={"Software": None})
