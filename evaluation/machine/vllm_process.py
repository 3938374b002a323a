"""A real vLLM of an environment of its own: started with a bundle's language model, and ended."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from shared.errors import UsageError

START_S: Final = 600.0
LAST_BYTES: Final = 2000


class VllmProcess:
    """vLLM's OpenAI server on a free port of loopback, ready inside the `with` block.

    python: the interpreter of the environment in which vLLM is installed. model: a folder in
    Hugging Face form, served under the name "tiny".
    """

    def __init__(self, python: Path, model: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._python = python
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the process
        # `vllm serve` looks for a distribution named vllm, which the CPU build is not.
        command = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(model), "--served-model-name", "tiny", "--port", str(port)]
        command += ["--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "1024"]
        command += ["--enforce-eager", "--enable-mm-embeds", "--limit-mm-per-prompt", '{"image":2}']
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=environment
        )

    def version(self) -> str:
        """What vLLM says of itself."""
        return str(httpx.get(f"{self.url}/version").raise_for_status().json()["version"])

    def __enter__(self) -> VllmProcess:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return self
            except httpx.TransportError:
                time.sleep(1)
        self.__exit__()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LAST_BYTES))
        last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
        raise UsageError(f"vLLM of {self._python} did not start: {' '.join(last)}")

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
