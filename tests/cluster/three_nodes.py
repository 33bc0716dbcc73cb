"""Three Ray nodes on this machine, in a process of their own, commanded over stdin.

One line of JSON comes out when the nodes are up, and one per command:
``look`` (what runs on every node that lives), ``kill NAME`` (SIGKILL of the node's raylet),
``quit`` (also the end of stdin, so that nothing outlives a test that was killed).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psutil
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
OF_RAY_ITSELF = {"ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE"}


class ThreeNodes:
    """Start them, look, kill one; a program joins with ``environment`` at ``address``."""

    def __init__(self, log: Path) -> None:
        # Unix socket paths must stay below 108 characters: a short folder, not pytest's.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._log = log
        self.environment = {
            "RAY_TMPDIR": str(self._folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Without the mode a program cannot join a cluster that has a token, even when it knows the token.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # A dead node is noticed after 1.5 s; by default after 15 s.
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }
        self.address = ""
        self.ids: dict[str, str] = {}
        """Name (``head``, ``worker-1``, ``worker-2``) -> Ray's id of the node."""

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.three_nodes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
                text=True,
            )
        answer = self._answer()
        self.address, self.ids = answer["address"], answer["ids"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    def actors(self) -> dict[str, list[str]]:
        """What runs on every node that lives: titles of processes such as ``ray::Ledger``."""
        return self._ask("look")

    def kill(self, name: str) -> None:
        self._ask(f"kill {name}")

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the cluster has ended; see {self._log}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def actors_of(node: Any) -> list[str]:
    """The titles of the children of a node's raylet, without those that every node has."""
    raylet = psutil.Process(node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid)
    titles = []
    for process in raylet.children():
        try:
            titles.append(" ".join(process.cmdline()).strip())
        except psutil.Error:
            continue  # it has just ended
    return sorted(title for title in titles if title.startswith("ray::") and title not in OF_RAY_ITSELF)


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = {"head": cluster.head_node, "worker-1": cluster.add_node(**NODE), "worker-2": cluster.add_node(**NODE)}
    cluster.wait_for_nodes()
    say({"address": cluster.address, "ids": {name: node.node_id for name, node in nodes.items()}})
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        if command == "kill":
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
            say({})
        else:
            cluster.wait_for_nodes()  # raises unless the cluster, too, holds exactly the others for alive
            say({name: actors_of(node) for name, node in nodes.items()})
    cluster.shutdown()


if __name__ == "__main__":
    main()
