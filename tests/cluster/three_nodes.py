"""Three Ray nodes on this machine, in a process of their own that a test commands over stdin.

A process of its own, because the variables that make a node's death known quickly must be set before Ray is loaded,
and because the tests beside this one run on another cluster in their own process.
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
import ray
from ray import serve
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
ON_EVERY_NODE = {"ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE"}


class ThreeNodes:
    """Named ``head``, ``worker-1`` and ``worker-2``. A program joins at ``address`` with ``environment``."""

    def __init__(self, log: Path) -> None:
        # Not pytest's folder: paths of Unix sockets end at 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._log = log
        self.environment = {
            "RAY_TMPDIR": str(self._folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Both are needed to join: Ray never looks for a token by itself when it is given an address.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # A dead node is noticed after 1.5 s instead of 15.
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }
        self.address = ""
        self.ids: dict[str, str] = {}
        """Name -> Ray's id of the node."""

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    def actors(self) -> dict[str, list[str]]:
        """Titles (``ray::Ledger``) of what runs on every node; fails unless all that were not killed live."""
        return self._ask("look")

    def kill(self, name: str) -> None:
        """SIGKILL the node's raylet; its workers end when they notice."""
        self._ask(f"kill {name}")

    def serve_theirs(self) -> None:
        """Run a Serve application that is not the site's."""
        self._ask("serve")

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


@serve.deployment(ray_actor_options={"num_cpus": 0.01})
class Theirs:
    """Somebody else's."""


def actors_of(node: Any) -> list[str]:
    raylet = psutil.Process(node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid)
    titles = []
    for process in raylet.children():
        try:
            # "ray::FusionShard.push" while it is at work
            titles.append(" ".join(process.cmdline()).strip().partition(".")[0])
        except psutil.Error:
            continue  # it has just ended
    return sorted(title for title in titles if title.startswith("ray::") and title not in ON_EVERY_NODE)


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201


def main() -> None:
    """One line of JSON when the nodes are up, and one per command; the end of stdin is the end."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = {"head": cluster.head_node, "worker-1": cluster.add_node(**NODE), "worker-2": cluster.add_node(**NODE)}
    cluster.wait_for_nodes()
    say({"address": cluster.address, "ids": {name: node.node_id for name, node in nodes.items()}})
    for line in sys.stdin:
        match line.split():
            case ["kill", name]:
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
                say({})
            case ["serve"]:
                ray.init(address=cluster.address, log_to_driver=False)
                serve.run(Theirs.bind(), name="theirs", route_prefix=None)  # type: ignore[attr-defined]
                say({})
            case _:
                cluster.wait_for_nodes()
                say({name: actors_of(node) for name, node in nodes.items()})
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
