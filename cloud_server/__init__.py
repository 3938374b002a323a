"""The service: bitstream and question in, answer out. `cloud_server.app.create_app` is the door.

from cloud_server import decode
decode("street.cotam").save("street.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloud_server.decoding import decode

__all__ = ["decode"]


def __getattr__(name: str) -> Any:
    """`decode`, imported when first asked for: it needs torch, and `--version` does not."""
    if name in __all__:
        from cloud_server import decoding

        return getattr(decoding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
