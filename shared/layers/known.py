"""What both ends know of a picture: its latents after its stream and each enhancement, exactly.

stream --read--> Known --continued, enhancement--> Known --continued--> ...
                   `--plan--> which latents the next one codes, at which quality
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import Bitstream
from shared.coding.integer_network import Before
from shared.entropy_model import EntropyModel
from shared.errors import EnhancementCoarse, EnhancementError, EnhancementForeign
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.level_map import LevelMap, flat_codes, read_codes

Array = NDArray[Any]


@dataclass(frozen=True)
class Known:
    """A picture after its last layer.

    stream: the first one. level_map: that of the stream, None where it has none. check: of the last
    layer. latents: the integers, and the quality codes i32 [h, w] that they have.
    """

    stream: Bitstream
    level_map: LevelMap | None
    check: int
    latents: Before

    @classmethod
    def read(
        cls, stream: Bitstream, model: EntropyModel, enhancements: Iterable[Enhancement] = ()
    ) -> Known:
        """What a stream holds, continued by enhancements in their order.

        Raises StreamMalformed, DecoderMismatch and as `continued`.
        """
        codes, level_map = read_codes(stream)
        symbols = model.read(stream.latents, stream.check, codes, stream.quality_code)
        latents = model.before(symbols, codes)
        known = cls(stream, level_map, stream.check, latents)
        for enhancement in enhancements:
            known = known.continued(enhancement, model)
        return known

    def continued(self, enhancement: Enhancement, model: EntropyModel) -> Known:
        """The picture after an enhancement.

        Raises EnhancementForeign for one of another picture or layer, EnhancementCells,
        EnhancementCoarse, DecoderMismatch.
        """
        if enhancement.base != self.check:
            raise EnhancementForeign(
                f"the enhancement continues a stream of check {enhancement.base:04x}, "
                f"here is one of {self.check:04x}",
                hint="send the whole stream",
            )
        cells = None
        if enhancement.cells:
            cells = Cells.decode(enhancement.cells, self.stream.width, self.stream.height)
        code = enhancement.quality_code
        codes, mask = self.plan(cells, code, model)
        symbols = model.read(
            enhancement.latents,
            enhancement.check,
            codes,
            code,
            self.latents,
            mask,
            enhancement.price_before,
        )
        latents = model.before(symbols, codes, self.latents, mask)
        return replace(self, check=enhancement.check, latents=latents)

    def plan(self, cells: Cells | None, code: int, model: EntropyModel) -> tuple[Array, Array]:
        """Quality codes i32 [h, w], and the mask bool [h, w] of the latents that become finer.

        Chosen cells get that code; the whole picture, without cells, what its level map makes of
        it. A latent that is as fine already stays. Raises EnhancementCells where the cells are not
        of this picture, EnhancementCoarse where all latents stay, EnhancementError where the
        network continues nothing.
        """
        if not model.goes_on:
            raise EnhancementError(
                "the codec of this stream was not made to continue it",
                hint="take a bundle whose codec was",
            )
        if cells is not None or self.level_map is None:
            codes = flat_codes(code, self.stream.width, self.stream.height)
        else:
            codes = self.level_map.codes(code, self.stream.width, self.stream.height)
        mask: Array = codes > self.latents.codes
        if cells is not None:
            mask &= cells.mask(self.stream.width, self.stream.height)
        if not mask.any():
            raise EnhancementCoarse(
                f"at quality {code / 20:g} none of these cells becomes finer",
                hint="ask for a higher quality, or for other cells",
            )
        return codes, mask

    def latent(self, model: EntropyModel) -> NDArray[np.float32]:
        """Latent f32 [C, h, w] in 8-bit units."""
        return model.latent(self.latents)
