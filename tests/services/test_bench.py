"""How the benchmark puts its runs together; the runs themselves are figures, not tests."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from services import bench


def make_row(cost: float, **by_role: float) -> dict[str, Any]:
    return {"cpu_s_per_camera_s": cost, "by_role": by_role, "memory_mb": cost}


def test_what_is_compared_is_measured_in_both_orders_and_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down by a tenth from run to run; the ratio must not show it."""
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        name = command[3]
        asked.append(name)
        cost = {"demux": 1.0, "process_gate_on": 3.0}[name] * (1 + 0.1 * len(asked))
        return subprocess.CompletedProcess(command, 0, json.dumps(make_row(cost, python=cost)), "")

    monkeypatch.setattr(bench.subprocess, "run", run)
    result = bench.compare(["rtsp://127.0.0.1/a"], ["demux", "process_gate_on"], seconds=5, warmup_s=0)
    assert asked == ["demux", "process_gate_on", "process_gate_on", "demux"]
    assert result["ratio"] == {"process_gate_on/demux": pytest.approx(3.0)}
    assert len(result["floor"]["demux"]["each"]) == 2


def test_the_path_on_ray_is_what_a_cameras_data_goes_through() -> None:
    replica = {"ServeReplica:encoder-filterbank:Encoder-filterbank": 4.0, "ServeReplica:api:Api": 16.0}
    row = make_row(0.0, DecoderShard=1.0, FusionShard=2.0, Ledger=0.5, ServeController=8.0, **replica)
    assert bench.path_cost(row) == 7.5


def test_a_role_that_ran_in_one_run_only_counts_half() -> None:
    mean = bench.mean_of([make_row(2.0, a=2.0), make_row(4.0, a=2.0, b=2.0)])
    assert mean["cpu_s_per_camera_s"] == 3.0
    assert mean["by_role"] == {"a": 2.0, "b": 1.0}
