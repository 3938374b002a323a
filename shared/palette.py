"""How importance looks, wherever a map is shown: the command line, the playground, the report.

The picture keeps its own colours; a cell that is marked gets a tint, the stronger the more it is.
"""

from __future__ import annotations

from typing import Final

MORE: Final = (255, 122, 46)
"""The tint of cells that get more bits, or are more important."""
FEWER: Final = (31, 127, 149)
"""The tint of cells that get fewer bits, where there is a level between."""
OPACITY: Final = 0.55
"""Of the strongest tint."""


def side_of(level: int, levels: int) -> float:
    """Where a level stands, -1 for the fewest bits to 1 for the most; 0 is not marked.

    Of two levels the lower one is what the picture is coded at otherwise: not marked.
    """
    return float(level) if levels == 2 else 2 * level / (levels - 1) - 1
