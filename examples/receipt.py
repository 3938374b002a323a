"""A receipt that is drawn here, sent as a stream, and read by a server with `--mllm rapidocr`."""

from __future__ import annotations

import time
from typing import Final

from edge_client import EdgeClient
from scenes import Backgrounds
from scenes.pages import Fonts, Page, render_page

INDEX: Final = 1
"""Of a receipt among the pages."""

QUALITY: Final = 6.0
"""Print of 10 pixels is read at it; level maps do not help print, so none is made."""


def draw_receipt() -> Page:
    """A photograph of a receipt, printed with the fonts that there are."""
    return render_page("test", INDEX, Fonts.installed(), Backgrounds(), (512, 640))


def read_receipt(url: str) -> str:
    """Send the receipt to a server that reads, print what it cost and what was read; the answer."""
    page = draw_receipt()
    question = page.questions[0]
    height, width = page.picture.shape[:2]
    with EdgeClient(url, quality=QUALITY, resolution=max(width, height), guidance=False) as client:
        start = time.perf_counter()
        response = client.ask(page.picture, question.prompt)
        seconds = time.perf_counter() - start
    print(f"\na receipt, {width}x{height}, travels as {response.image.bytes:,} bytes:")
    for line in response.answer.splitlines():
        print(f"  {line}")
    print(f"  {question.prompt:<28} {question.answer}, as it was printed")
    print(f"  coded, sent and read in {seconds:.1f} s")
    return response.answer
