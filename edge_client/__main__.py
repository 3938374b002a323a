"""`python -m edge_client`, and what the console script `edge_client` calls."""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with one of the exit codes of `shared.errors`."""
    from edge_client.cli.app import run

    run()


if __name__ == "__main__":
    main()
