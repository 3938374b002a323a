"""The edge: a picture and a question in, a bitstream out, an answer back. No torch here.

picture --images--> pixels --guidance--> level map --encoder--> Bitstream --client--> answer

from edge_client import EdgeClient
with EdgeClient("http://127.0.0.1:8000") as client:
    print(client.ask("street.png", "how many cars?").answer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_client.server.client import AsyncEdgeClient, EdgeClient

__all__ = ["AsyncEdgeClient", "EdgeClient"]


def __getattr__(name: str) -> Any:
    """The clients, imported when first asked for: `edge_client --version` needs neither."""
    if name in __all__:
        from edge_client.server import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
