"""`python -m cloud_server`, and the console script."""

from __future__ import annotations

import sys

from shared.libraries import wait_passively


def main() -> None:
    """Run the command line; one line where only the edge is installed."""
    wait_passively()
    try:
        from cloud_server.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("cloud_server", "shared"):
            raise
        print(
            f"error: the server needs {error.name}, which is not installed "
            "(pip install '.[cloud]' in a checkout)",
            file=sys.stderr,
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
