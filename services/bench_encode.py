"""``mmstream bench encode``: what the way through a Serve replica costs, beside a bare loop over the same encoder.

The bare loop runs in a process of its own, which holds the same encoder with the same threads and number format, and
does nothing but encode as many inputs per pass as the replica gets together on average. Both are asked in turns of two
seconds, each first as often as second, because machines change their speed: the ratio is that of the sums. While one
is asked, the other stands still.

CPU seconds are those of the process that encodes: on a machine that others use, too, their ratio is the quieter one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from mmstream.config import EncoderSection
from mmstream.errors import ConfigError
from mmstream.types import PictureSpec, Snapshot
from services.bench_models import ARCHITECTURES, Architecture, make_inputs

CALLERS = 4
CHUNKS_IN_FLIGHT = 2
"""Per caller, as a decoder shard has (`mmstream.shard`)."""
TURN_S = 2.0
PATIENCE_S = 300.0
"""A pass of 32 pictures can take long on one core."""

Counted = tuple[int, float, float]
"""Inputs, wall seconds, CPU seconds."""


class BareLoop:
    """The encoder in a process without Ray."""

    def __init__(self, architecture: Architecture, options: Mapping[str, Any], device: str) -> None:
        # As Ray does for actors of one CPU; torch's own threads are set below.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "services.bench_encode"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._ask({"encoder": architecture.encoder, "options": dict(options), "device": device})

    def run(self, batch: int, seconds: float) -> Counted:
        """Encode ``batch`` inputs at a time until ``seconds`` are over."""
        answer = self._ask({"batch": batch, "seconds": seconds})
        return answer["inputs"], answer["wall_s"], answer["cpu_s"]

    def close(self) -> None:
        """The end of its questions is its end."""
        self._process.communicate(timeout=30)

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line or '{"error": "the process of the bare loop has ended"}')
        if "error" in answer:
            self.close()
            raise ConfigError(answer["error"])
        return answer


def answer_questions() -> None:
    """The bare loop's own process."""
    import torch

    from mmstream.encoders.batching import build_replica

    torch.set_num_threads(1)
    first = json.loads(sys.stdin.readline())
    try:
        encoder = build_replica(first["encoder"], first["options"], first["device"])
    except ConfigError as error:
        print(json.dumps({"error": error.sentence}), flush=True)  # noqa: T201
        return
    answer: dict[str, Any] = {"model": encoder.model}
    while True:
        print(json.dumps(answer), flush=True)  # noqa: T201
        line = sys.stdin.readline()
        if not line:
            return
        question = json.loads(line)
        batch = make_inputs(encoder.wants, question["batch"])
        began_s, began_cpu_s, num_inputs = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began_s < question["seconds"]:
            num_inputs += len(encoder.encode(batch))
        answer = {
            "inputs": num_inputs,
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - began_cpu_s,
        }


class ThroughServe:
    """One replica, asked by `CALLERS` at once, each with its own handle and two chunks in flight."""

    def __init__(self, encoder: str, section: EncoderSection) -> None:
        from services.encoders import EncoderClient, describe_all, replica_stats, run_encoder

        run_encoder(encoder, section)
        found, missing = describe_all([encoder], patience_s=PATIENCE_S)
        if missing:
            raise ConfigError(missing[encoder])
        self.wants = found[encoder].wants
        self._stats: Callable[[], Any] = lambda: replica_stats(encoder)[0]
        self._client: Callable[[], EncoderClient] = lambda: EncoderClient(encoder, timeout_s=PATIENCE_S)
        self.inputs_per_pass = 0.0

    def run(self, per_call: int, seconds: float) -> Counted:
        """Ask for chunks of ``per_call`` inputs."""
        data = make_inputs(self.wants, per_call)
        chunk = [
            Snapshot(feed_id=f"bench-{i}", start_s=0.0, end_s=2.0, encoder="", data=one) for i, one in enumerate(data)
        ]
        before = self._stats()
        process = psutil.Process(before.pid)
        began_s, began_cpu = time.perf_counter(), process.cpu_times()
        num_inputs = asyncio.run(self._call(chunk, began_s + seconds))
        wall_s, cpu = time.perf_counter() - began_s, process.cpu_times()
        after = self._stats()
        self.inputs_per_pass = (after.num_inputs - before.num_inputs) / max(1, after.num_batches - before.num_batches)
        return num_inputs, wall_s, cpu.user + cpu.system - began_cpu.user - began_cpu.system

    async def _call(self, chunk: Sequence[Snapshot], until_s: float) -> int:
        """Until then, and until the last answer is there: the clock goes on as long."""
        num_inputs = 0

        async def ask_again(client: Any) -> None:
            nonlocal num_inputs
            while time.perf_counter() < until_s:
                answer = await client.encode(chunk)
                num_inputs += len(answer or ())

        clients = [self._client() for _ in range(CALLERS)]
        await asyncio.gather(*(ask_again(client) for client in clients for _ in range(CHUNKS_IN_FLIGHT)))
        return num_inputs


def compare(
    models: Sequence[str],
    precisions: Sequence[str],
    per_calls: Sequence[int],
    *,
    seconds: float,
    device: str,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Every model in every number format and size of call; keys as DESIGN section 4 fixes them."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' own, of every file
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    with _cluster(device) as place:
        for name in models:
            architecture = ARCHITECTURES[name]
            with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder:
                progress(f"{name}: making random weights")
                options = architecture.make(Path(folder))
                for precision in precisions:
                    progress(f"{name} {precision}: loading twice")
                    try:
                        rows += _measure(
                            name,
                            {**options, "precision": precision},
                            per_calls,
                            seconds=seconds,
                            device=place,
                            progress=progress,
                        )
                    except ConfigError as error:
                        skipped[f"{name}/{precision}"] = error.sentence
    keys = [f"{row['model']}/{row['precision']}/{row['per_call']}" for row in rows]
    return {
        "device": place,
        "threads": 1,
        "seconds": seconds,
        "floor": {key: row["floor"] for key, row in zip(keys, rows, strict=True)},
        "ours": {key: row["ours"] for key, row in zip(keys, rows, strict=True)},
        "ratio": {key: row["ratio"] for key, row in zip(keys, rows, strict=True)},
        "rows": rows,
        "skipped": skipped,
    }


@contextlib.contextmanager
def _cluster(device: str) -> Iterator[str]:
    """A Ray of our own; -> cpu or cuda."""
    import ray
    from ray import serve

    from services.app import connect

    connect(None)
    try:
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield device if device != "auto" else ("cuda" if resources.get("GPU", 0) else "cpu")
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _measure(
    name: str,
    options: Mapping[str, Any],
    per_calls: Sequence[int],
    *,
    seconds: float,
    device: str,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    from ray import serve

    from services.encoders import app_name

    architecture = ARCHITECTURES[name]
    section = EncoderSection.model_validate(
        {
            "replicas": [architecture.encoder],
            "options": {architecture.encoder: dict(options)},
            "device": device,
            "max_replicas": 1,
        }
    )
    bare = BareLoop(architecture, options, device)
    try:
        served = ThroughServe(architecture.encoder, section)
        rows: list[dict[str, Any]] = []
        for per_call in per_calls:
            progress(f"{name} {options['precision']}, {per_call} a call")
            served.run(per_call, TURN_S)
            per_pass = round(served.inputs_per_pass)
            row = {"model": name, "precision": options["precision"], "per_call": per_call, "per_pass": per_pass}
            row |= in_turns(partial(bare.run, per_pass), partial(served.run, per_call), seconds=seconds)
            if isinstance(served.wants, PictureSpec):
                row["streams_per_device"] = row["ours"]["inputs_per_s"]  # one picture a second each
            rows.append(row)
        return rows
    finally:
        serve.delete(app_name(architecture.encoder))
        bare.close()


def in_turns(bare: Callable[[float], Counted], served: Callable[[float], Counted], *, seconds: float) -> dict[str, Any]:
    """Measure both for ``seconds``, in turns of `TURN_S` and in alternating order; the first turn is not counted."""
    num_turns = max(2, round(seconds / TURN_S))
    runs = {"floor": bare, "ours": served}
    sums = {side: [0.0, 0.0, 0.0] for side in runs}
    for turn in range(-1, num_turns):
        for side in ("floor", "ours") if turn % 2 else ("ours", "floor"):
            counted = runs[side](min(TURN_S, seconds / num_turns))
            if turn >= 0:
                sums[side] = [total + part for total, part in zip(sums[side], counted, strict=True)]
    result: dict[str, Any] = {
        side: {"inputs_per_s": inputs / wall_s, "inputs_per_cpu_s": inputs / max(cpu_s, 1e-9)}
        for side, (inputs, wall_s, cpu_s) in sums.items()
    }
    for ratio, figure in (("ratio", "inputs_per_s"), ("ratio_cpu", "inputs_per_cpu_s")):
        result[ratio] = result["ours"][figure] / result["floor"][figure]
    return result


if __name__ == "__main__":
    answer_questions()
