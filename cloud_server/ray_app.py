"""The public address of the Ray application: `cloud_server.ray_app:build` for Ray's own commands,
`python -m cloud_server.ray_app` for a Ray of its own."""

from __future__ import annotations

from cloud_server.ray.app import build, main

__all__ = ["build", "main"]

if __name__ == "__main__":
    main()
