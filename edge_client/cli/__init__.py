"""The command line: thin. Data goes to standard output, talk to standard error.

One module a command. Heavy imports (numpy, onnxruntime, httpx, Pillow) happen inside the commands,
so that `--version` and `--help` need none of them.
"""
