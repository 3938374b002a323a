"""The world of print: pages, screens and signs of which every line is known. numpy and Pillow only.

A page is a pure function of (split, index, fonts, backgrounds, size):

    from scenes import Backgrounds
    from scenes.pages import Fonts, render_page
    page = render_page("test", 0, Fonts.pinned(), Backgrounds.builtin(), (640, 480))
    page.picture, page.kind, page.lines, page.questions
"""

from scenes.pages.fonts import Fonts
from scenes.pages.page import Line, Page
from scenes.pages.render import KINDS, PAGE_SPLITS, PAGES_VERSION, PageSplit, render_page

__all__ = [
    "KINDS",
    "PAGES_VERSION",
    "PAGE_SPLITS",
    "Fonts",
    "Line",
    "Page",
    "PageSplit",
    "render_page",
]
