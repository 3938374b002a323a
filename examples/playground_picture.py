"""The picture of the playground in the documents, made again: a real server, a real browser.

python -m examples.playground_picture            writes docs/img/playground.png
python -m examples.playground_picture FILE.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from examples.serving import serving

PICTURE: Final = Path(__file__).parents[1] / "docs/img/playground.png"
WIDTH: Final = 1180
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS: Final = 300_000


def main() -> None:
    """Ask two questions about the first example, and write what the page then looks like."""
    from playwright.sync_api import sync_playwright

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit("there is no Chromium: install it (Debian: apt-get install chromium)")
    with serving() as url, sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=browser_path, args=options)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 800}, device_scale_factor=1.5, color_scheme="light"
        )
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.wait_for_selector("body[data-state=shown]")
        for question in ("what colour are the cars?", "how many cars are there?"):
            page.evaluate("document.body.dataset.state = ''")
            page.fill("#prompt", question)
            page.press("#prompt", "Enter")
            page.wait_for_selector("body[data-state=answered]")
        page.fill("#prompt", "")
        page.screenshot(path=target, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
