"""The command line: thin. Data goes to standard output, talk to standard error.

One module a command. Heavy imports (numpy, onnxruntime, httpx, Pillow) happen inside the commands,
so that `--version` and `--help` need none of them.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with one of the exit codes of `shared.errors`."""
    from edge_client.cli.app import run

    run()
