"""What mkdocs does not do by itself, for the site that `make docs` builds.

Documents of the root are pages too. They lie where hosts of repositories look for them, outside of
docs/. Links between both hold in a checkout, and are changed here to where the site has the pages.

No page may fetch anything from another host.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
TARGETS = {**PAGES, "README.md": "index.md"}
NAMES = "|".join(map(re.escape, TARGETS))
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\W?(?:https?:)?//[^>]*>"
)


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents of the root."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        text = re.sub(rf"\]\(({NAMES})", lambda link: f"]({TARGETS[link[1]]}", text)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """`../SECURITY.md` of a page is `security.md` here; links to other files become text."""
    folder = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if path.startswith("docs/"):
            return link[0]
        if path not in TARGETS:
            return link[1]
        return f"[{link[1]}]({posixpath.relpath(TARGETS[path], folder or '.')}{link[3] or ''})"

    return re.sub(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)", moved, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Raises PluginError where a reader's browser would ask somebody else."""
    if fetched := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} fetches from another host: {fetched[0]}")
    return output
