"""A Ray with its dashboard, to which a site is deployed as KubeRay does it: by a Serve config over HTTP.

In a process of its own, commanded by lines of JSON over stdin, each answered by one: ``deploy`` (PUT a Serve
config), ``applications`` (their states), ``encoder`` (its replicas, and what one makes of a test picture). The end of
stdin stops the site in order and ends Ray, so that nothing outlives a test that was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import ray
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from mmstream.config import load_site
from mmstream.encoders.filterbank import FilterBankEncoder
from mmstream.types import UInt8
from services.app import Site, local_ray_options
from services.encoders import encoder_handle, replica_stats
from services.ports import free_port

CPUS = 4


def make_picture() -> UInt8:
    """Noise: every cell of it has edges in all directions."""
    shape = (1, *FilterBankEncoder.wants.shape)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


class DeclaredSite:
    """Start Ray, deploy Serve configs to it, look at what they made."""

    def __init__(self, site_yaml: Path, log: Path) -> None:
        # Unix socket paths must stay below 108 characters: a short folder, not pytest's.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._site_yaml, self._log = site_yaml, log

    def __enter__(self) -> Self:
        environment = {
            "RAY_TMPDIR": str(self._folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.declarative_site", str(self._site_yaml)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment},
                text=True,
            )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        children = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.stdin.close()
        try:
            self._process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        # Only what we started: whatever is still there had its chance.
        for child in psutil.wait_procs(children, timeout=10)[1]:
            child.kill()
        shutil.rmtree(self._folder)

    def deploy(self, config: Mapping[str, Any]) -> None:
        self._ask(command="deploy", config=config)

    def applications(self) -> dict[str, Any]:
        return self._ask(command="applications")

    def encoder(self) -> dict[str, Any]:
        return self._ask(command="encoder")

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it has ended:\n{self._log.read_text()[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def look_at_encoder() -> dict[str, Any]:
    answer = encoder_handle("filterbank").encode.remote(make_picture()).result(timeout_s=30)
    return {"replicas": [asdict(stats) for stats in replica_stats("filterbank")], "vector": answer.vectors[0].tolist()}


def answer_to(question: Mapping[str, Any], client: ServeSubmissionClient) -> dict[str, Any]:
    match question["command"]:
        case "deploy":
            client.deploy_applications(question["config"])
            return {}
        case "applications":
            details = client.get_serve_details()["applications"]
            return {name: {"status": app["status"], "message": app["message"]} for name, app in details.items()}
        case _:
            return look_at_encoder()


def say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201


def main() -> None:
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": free_port()}
    context = ray.init(**{**local_ray_options(), **dashboard, "num_cpus": CPUS})
    client = ServeSubmissionClient(f"http://{context.dashboard_url}")
    say({})
    for line in sys.stdin:
        say(answer_to(json.loads(line), client))
    Site(load_site(sys.argv[1])).stop()


if __name__ == "__main__":
    main()
