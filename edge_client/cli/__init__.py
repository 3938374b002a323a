"""The command line: thin. Data goes to standard output, talk to standard error.

One module a command. Heavy imports (numpy, onnxruntime, httpx, Pillow) happen inside the commands,
so that `--version` and `--help` need none of them.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends the process with one of the exit codes of `shared.errors`."""
    from edge_client.cli.console import streams
    from edge_client.cli.console.output import one_line_errors

    streams.prepare()
    with one_line_errors():
        if sys.argv[1:] == ["--version"]:  # what scripts and health checks ask: without the rest
            from edge_client.cli.version import version_line

            streams.write_data(version_line())
            return
        from edge_client.cli.app import run

        run()
