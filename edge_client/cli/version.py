"""The version, by itself: it needs nothing of the command line."""

from __future__ import annotations


def version_line() -> str:
    """What `--version` prints: the version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"edge_client {version('cotam')}"
    except PackageNotFoundError:
        return "edge_client (not installed)"
