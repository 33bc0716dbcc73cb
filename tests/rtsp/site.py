"""A whole site as its user starts it: ``mmstream run site.yaml`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import yaml

from services.client import ApiError, SiteClient
from services.ports import free_port

START_WITHIN_S = 180.0
ACTORS = {
    "decoder": "ray::DecoderShard",
    "fusion": "ray::FusionShard",
    "ledger": "ray::Ledger",
    "supervisor": "ray::Supervisor",
    "encoder": "ray::ServeReplica:encoder",
    "api": "ray::ServeReplica:api",
}


def wait_until(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """The first true answer of ``condition``; fails with ``what`` when there is none in time."""
    deadline_s = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)


class RunningSite:
    """Start it, talk to it through ``client``, kill parts of it by name, stop it with SIGTERM."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.data_dir = folder / "data"
        self.log = folder / "site.log"
        self._yaml = folder / "site.yaml"
        whole = {"site": {"data_dir": str(self.data_dir)}, "api": {"port": self.port}, **settings}
        self._yaml.write_text(yaml.safe_dump(whole))
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._client: SiteClient | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "run", str(self._yaml), *self._arguments],
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        wait_until(self._is_ready, within_s=START_WITHIN_S, what=f"/readyz answers; see {self.log}")
        key = wait_until(self._key, within_s=10, what="the API key is written")
        self._client = SiteClient(self.url, key)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> SiteClient:
        assert self._client is not None
        return self._client

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mmstream run ended early:\n{self.log.read_text()[-3000:]}"
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _key(self) -> str:
        path = self.data_dir / "api.key"
        return path.read_text().strip() if path.exists() else ""

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A plain GET with the key, for what is not JSON."""
        sent = {"Authorization": f"Bearer {self._key()}", **(headers or {})}
        return httpx.get(f"{self.url}/api/v1{path}", headers=sent, timeout=30, trust_env=False)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """feed id -> status; empty while the API is on its way back."""
        try:
            return {feed["feed_id"]: feed.get("status") or {} for feed in self.client.feeds()}
        except ApiError:
            return {}

    def alerts(self) -> list[dict[str, Any]]:
        try:
            return list(self.client.alerts())
        except ApiError:
            return []

    def counter(self, feed_id: str, name: str) -> float:
        return float(self.statuses().get(feed_id, {}).get("counters", {}).get(name, 0.0))

    # -- its processes ------------------------------------------------------------------------------

    def pids(self, actor: str) -> list[int]:
        """Processes of one kind of actor, below ours."""
        assert self._process is not None
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if title.startswith(ACTORS[actor]):
                found.append(process.pid)
        return found

    def kill(self, actor: str) -> int:
        """SIGKILL one process of that kind; -> its pid."""
        pid = self.pids(actor)[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        process, self._process = self._process, None
        if process is None:
            return
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Only what we started: whatever is still there had its chance.
        for child in psutil.wait_procs(children, timeout=10)[1]:
            child.kill()


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, default=str)
