"""A real redis-server on a free port of this machine, and alerts to put in stores."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mmstream.types import Alert, alert_id


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """Its URL; the process ends with the block. The test is skipped, visibly, where redis-server is missing."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server; 'make test' installs it")
    port = free_port()
    where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with subprocess.Popen([program, *where, *options], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_listens(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    client: Any = redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0))
    deadline = time.monotonic() + 20
    with contextlib.closing(client):
        while True:
            try:
                client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def make_alert(feed_id: str = "gate-1", start_s: float = 1_700_000_000.0, **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "end_s": start_s + 2,
        "state": "open",
        "severity": "alert",
        "surprise": 4.25,
        "peak_s": start_s + 1,
        "expected_every_s": 86_400.0,
        "shares": {"picture": 0.75, "sound": 0.25},
        "channels": {"motion": 0.001, "sound": 0.02},
        "models": ("motion@1", "sound@1"),
    }
    return Alert(alert_id=alert_id(feed_id, start_s), feed_id=feed_id, start_s=start_s, **{**values, **changes})
