"""`python -m cloud_server`."""

from cloud_server.cli import main

if __name__ == "__main__":
    main()
