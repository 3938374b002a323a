"""A picture that was coded, and is kept so that some of it can be sent again, finer.

Analysed --code--> stream            to the server
    `----CodedPicture--enhancement--> bytes that continue it, for the cells that it asks for
"""

from __future__ import annotations

from edge_client.coding.encoder import Analysed, quality_code
from shared.bitstream import Bitstream
from shared.coding.intervals import USUAL
from shared.coding.symbol_coder import BIT_PRICE
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.layers.known import Known


class CodedPicture:
    """A coded picture and what its reader has of it.

    stream: the first layer. Own layers are read anew when the next one is asked for: most pictures
    are never continued.
    """

    def __init__(self, analysed: Analysed, stream: Bitstream, price: float = BIT_PRICE) -> None:
        """price: of a bit, at which the stream was coded; 0: enhancements do not tell it."""
        self.stream = stream
        self._analysed = analysed
        self._told_price = min(round(USUAL * price / BIT_PRICE), 255)
        self._known: Known | None = None
        self._unread: list[Enhancement] = []

    def enhancement(self, cells: Cells | None, quality: float) -> bytes:
        """What makes these cells finer, or the whole picture where none are named.

        quality: 0 to 9, of the cells; of the whole picture, that from which its level map counts.
        The next enhancement continues this one, so it has to be sent. Raises UsageError for a
        quality outside, EnhancementCells for cells of another picture, EnhancementCoarse where
        nothing would become finer, EnhancementError where the bundle's codec continues nothing.
        """
        model, known, code = self._analysed.model, self._read(), quality_code(quality)
        codes, mask = known.plan(cells, code, model)
        price = self._told_price
        coded = model.encode(
            self._analysed.latent,
            codes,
            code,
            before=known.latents,
            mask=mask,
            price_before=price,
        )
        made = Enhancement(
            base=known.check,
            quality_code=code,
            price_before=price,
            check=coded.check,
            cells=b"" if cells is None else cells.encode(),
            latents=coded.payload,
        )
        self._unread.append(made)
        if price != USUAL:
            self._told_price = 0  # of latents that were coded at two prices, neither is told
        return made.to_bytes()

    def _read(self) -> Known:
        model = self._analysed.model
        known = self._known or Known.read(self.stream, model)
        while self._unread:
            known = known.continued(self._unread.pop(), model)
        self._known = known
        return known
