"""`camera_server.py` as a child process: started, told what to do, frozen, killed, and always ended."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

SCRIPT = Path(__file__).with_name("camera_server.py")
PYTHON = "/usr/bin/python3"
"""Debian's own, which has ``gi``."""


def is_available() -> bool:
    """True where Debian's gst-rtsp-server and its Python bindings are installed."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    return Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode == 0


class CameraServer:
    """RTSP cameras on one port of 127.0.0.1, as a context manager.

    ``mounts``: name -> spec, see `camera_server`. ``options``: further command line words.
    """

    def __init__(
        self, mounts: Mapping[str, str], *, user: str = "", password: str = "", options: Sequence[str] = ()
    ) -> None:
        self._words = [word for name, spec in mounts.items() for word in ("--mount", f"{name}={spec}")]
        if user:
            self._words += ["--user", user, "--password", password]
        self._words += options
        self._process: subprocess.Popen[str] | None = None
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def url(self, name: str, *, credentials: str = "", scheme: str = "rtsp") -> str:
        at = f"{credentials}@" if credentials else ""
        return f"{scheme}://{at}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start, on the port of the last time if there was one, and wait until clients can connect."""
        self._process = subprocess.Popen(
            [PYTHON, str(SCRIPT), "--port", str(self.port), *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self.port = int(self.wait_for("ready", timeout_s=60)["port"])

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._messages.put(json.loads(line))
        self._messages.put({"event": "gone"})

    def wait_for(self, event: str, *, timeout_s: float = 20) -> dict[str, Any]:
        """The next message of that kind; others are kept for their own waiter."""
        for index, message in enumerate(self._kept):
            if message["event"] == event:
                return self._kept.pop(index)
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._messages.get(timeout=max(0.01, deadline - time.monotonic()))
            if message["event"] == event:
                return message
            if message["event"] in ("gone", "error"):
                raise RuntimeError(f"camera server, waiting for {event!r}: {message}")
            self._kept.append(message)

    def command(self, line: str) -> None:
        """Carry out one line of the server's language and wait until it has been."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self.wait_for("done")

    def freeze(self) -> None:
        """Like a pulled cable or a hung camera: connections stay open, nothing moves."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without goodbye; `start` brings it back on the same port."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(queue.Empty):
            while self._messages.get(timeout=5)["event"] != "gone":
                pass
        assert process.stdout is not None
        process.stdout.close()
