"""`python -m edge_client`: the command line."""

from edge_client.cli import main

if __name__ == "__main__":
    main()
