"""The loop: what it does to a training that is killed, goes wrong, gets worse, or takes too long."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from mmstream.errors import ConfigError, StageError
from mmstream.training.curves import Curves
from mmstream.training.loop import Epoch, FitSettings, LocalWorker, fit, take_settings
from mmstream.training.trainee import Batch, Step

NUM_BATCHES = 6
QUICK = FitSettings(epochs=6, learning_rate=0.05, patience=0, weight_decay=0.0, precision="fp32")


@dataclass
class Line:
    """Learns a line through noisy points; its module draws (dropout) and keeps statistics (normalisation)."""

    seed: int = 3
    bad: Callable[[int, int], bool] = lambda _epoch, _number: False
    bad_rank: int = 0
    losses: list[float] = field(default_factory=list)
    """Of validation, one per epoch, in place of the real ones."""
    num_validated: int = 0

    def module(self) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        for number in range(NUM_BATCHES // world_size):
            random = torch.Generator().manual_seed(1000 * epoch + number * world_size + rank)
            inputs = torch.randn(16, 4, generator=random)
            wanted = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]]) + 3.0
            if self.bad(epoch, number) and rank == self.bad_rank:
                inputs = inputs * math.nan
            yield {"inputs": inputs, "wanted": wanted}

    def step(self, module: nn.Module, batch: Batch) -> Step:
        loss = (module(batch["inputs"]) - batch["wanted"]).square().mean()
        return Step(loss=loss, parts={"squared": float(loss.detach())})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        assert not module.training
        self.num_validated += 1
        if self.losses:
            return {"loss": self.losses[self.num_validated - 1]}
        batch = next(self.batches(epoch=10_000, rank=0, world_size=1))
        return {"loss": float(self.step(module, batch).loss)}

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        raise AssertionError(f"the loop does not export {module}")


def weights(module: nn.Module) -> dict[str, list[float]]:
    return {name: value.double().flatten().tolist() for name, value in module.state_dict().items()}


class Killed(Exception):
    pass


def killed_in(epoch: int) -> Callable[[int, int], bool]:
    def kill(now: int, number: int) -> bool:
        if (now, number) == (epoch, 3):
            raise Killed
        return False

    return kill


def test_it_learns_and_tells_every_epoch() -> None:
    told: list[Epoch] = []
    fitted = fit(Line(), QUICK, LocalWorker(device="cpu"), on_epoch=told.append)
    assert [(epoch.number, epoch.of) for epoch in told] == [(number, 6) for number in range(1, 7)]
    assert told[-1].figures["validation/loss"] < 0.2 * told[0].figures["validation/loss"]
    assert {"train/loss", "train/squared", "learning_rate", "skipped", "seconds"} <= set(told[0].figures)
    assert told[fitted.best_epoch - 1].is_best
    assert fitted.figures == told[fitted.best_epoch - 1].figures
    assert (fitted.stopped, fitted.num_skipped) == ("", 0)


@pytest.mark.parametrize("settings", [QUICK, FitSettings(epochs=6, learning_rate=0.05, ema_decay=0.9)])
def test_killed_in_the_middle_of_an_epoch_it_gives_the_same_weights(tmp_path: Path, settings: FitSettings) -> None:
    whole = fit(Line(), settings, LocalWorker(device="cpu"))
    with pytest.raises(Killed):
        fit(Line(bad=killed_in(3)), settings, LocalWorker(device="cpu", folder=tmp_path))
    torch.rand(7)  # the process that goes on has drawn other numbers
    again = fit(Line(), settings, LocalWorker(device="cpu", folder=tmp_path))
    assert weights(again.module) == weights(whole.module)
    assert [figures["train/loss"] for figures in again.history] == [f["train/loss"] for f in whole.history]


def test_what_others_draw_is_not_moved_by_a_training() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3).tolist()
    torch.manual_seed(1)
    fit(Line(), QUICK, LocalWorker(device="cpu"))
    assert torch.rand(3).tolist() == expected


def test_a_batch_of_nonsense_is_skipped_counted_and_leaves_no_trace() -> None:
    fitted = fit(Line(bad=lambda epoch, number: (epoch, number) == (1, 2)), QUICK, LocalWorker(device="cpu"))
    assert fitted.num_skipped == 1
    assert all(math.isfinite(value) for values in weights(fitted.module).values() for value in values)
    assert fitted.figures["validation/loss"] < 0.5 * fitted.history[0]["validation/loss"]


def test_five_in_a_row_end_it_and_say_so() -> None:
    with pytest.raises(StageError, match="5 batches in a row gave no finite loss"):
        fit(Line(bad=lambda epoch, number: epoch == 0 and number < 5), QUICK, LocalWorker(device="cpu"))
    four = Line(bad=lambda epoch, number: epoch == 0 and number < 4)
    assert fit(four, QUICK, LocalWorker(device="cpu")).num_skipped == 4


def test_it_ends_when_it_gets_no_better_and_gives_the_best() -> None:
    losses = [5.0, 3.0, 2.0, 2.5, 2.1, 2.0, 1.0]
    stopped = fit(Line(losses=losses), FitSettings(epochs=7, patience=3), LocalWorker(device="cpu"))
    assert (stopped.stopped, stopped.best_epoch, len(stopped.history)) == ("patience", 3, 6)
    three = fit(Line(losses=losses), FitSettings(epochs=7, patience=0, max_seconds=3), LocalWorker(), clock=ticking(1))
    assert three.stopped == "time"


def test_the_weights_are_those_of_the_best_epoch() -> None:
    up_to_two = FitSettings(epochs=6, patience=0, learning_rate=0.05)
    kept = fit(Line(losses=[3.0, 1.0, 9.0, 9.0, 9.0, 9.0]), up_to_two, LocalWorker(device="cpu"))
    seen: list[dict[str, list[float]]] = []

    class Watched(Line):
        def validate(self, module: nn.Module) -> Mapping[str, float]:
            seen.append(weights(module))
            return super().validate(module)

    fit(Watched(), up_to_two, LocalWorker(device="cpu"))
    assert weights(kept.module) == seen[1]
    assert seen[1] != seen[5]


def ticking(step_s: float) -> Callable[[], float]:
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += step_s
        return now_s[0]

    return clock


def test_when_its_time_is_over_the_epoch_is_the_last() -> None:
    fitted = fit(Line(), FitSettings(epochs=50, max_seconds=20), LocalWorker(device="cpu"), clock=ticking(1.0))
    assert fitted.stopped == "time"
    assert 2 <= len(fitted.history) <= 4


def test_a_restart_gives_no_new_time(tmp_path: Path) -> None:
    settings = FitSettings(epochs=50, max_seconds=20, patience=0)
    fit(Line(), settings, LocalWorker(device="cpu", folder=tmp_path), clock=ticking(1.0))
    assert fit(Line(), settings, LocalWorker(device="cpu", folder=tmp_path)).stopped == "time"


class Interrupted(LocalWorker):
    """Asked to stop before its so-manieth batch."""

    def __init__(self, after: int) -> None:
        super().__init__(device="cpu")
        self._left = after

    def should_stop(self) -> bool:
        self._left -= 1
        return self._left < 0


def test_asked_to_stop_it_gives_the_best_so_far() -> None:
    fitted = fit(Line(), QUICK, Interrupted(2 * NUM_BATCHES + 3))
    assert (fitted.stopped, len(fitted.history)) == ("asked", 2)
    with pytest.raises(StageError, match="stopped before the first"):
        fit(Line(), QUICK, Interrupted(2))


def test_without_a_batch_there_is_nothing_to_learn_from() -> None:
    class Empty(Line):
        def batches(self, **_of: int) -> Iterator[Batch]:
            return iter(())

    with pytest.raises(StageError, match="not one batch"):
        fit(Empty(), QUICK, LocalWorker(device="cpu"))


def test_what_is_frozen_is_neither_moved_nor_written_down(tmp_path: Path) -> None:
    class Adapted(Line):
        def module(self) -> nn.Module:
            module = nn.Sequential(nn.Linear(4, 512), nn.Linear(512, 1))
            module[0].requires_grad_(False)
            return module

    torch.manual_seed(Line().seed)
    before = weights(Adapted().module())
    fitted = fit(Adapted(), QUICK, LocalWorker(device="cpu", folder=tmp_path))
    after = weights(fitted.module)
    assert after["0.weight"] == before["0.weight"]
    assert after["1.weight"] != before["1.weight"]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(state["module"]) == {"1.weight", "1.bias"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epochs": 0}, "epochs must be more than 0"),
        ({"learning_rate": math.inf}, "learning_rate must be a number"),
        ({"warmup_share": 1.0}, "warmup_share must be from 0 to below 1"),
        ({"patience": True}, "patience must be a number"),
        ({"precision": "fp64"}, "there is no precision 'fp64'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        take_settings(wrong)


# --- several workers ---------------------------------------------------------------------------------------


class Gloo(LocalWorker):
    """One of two processes on this machine."""

    world_size = 2

    def __init__(self, rank: int, folder: Path) -> None:
        super().__init__(device="cpu", folder=folder)
        self.rank = rank

    def wrap(self, module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module)

    def report(self, epoch: int, figures: Mapping[str, float], state: bytes) -> None:
        assert bool(state) == (self.rank == 0)
        if self.rank == 0:
            super().report(epoch, figures, state)


def work(rank: int, folder: Path, epochs: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    line = Line(bad=lambda epoch, number: (epoch, number) == (1, 1), bad_rank=1, losses=[3.0 - rank, 2.0 + 4 * rank, 1])
    settings = FitSettings(epochs=epochs, learning_rate=0.05, patience=1, precision="fp32")
    fitted = fit(line, settings, Gloo(rank, folder))
    torch.save((fitted.module.state_dict(), fitted.num_skipped, fitted.stopped), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_workers_skip_and_stop_together_and_one_can_go_on_alone(tmp_path: Path) -> None:
    spawn(work, (tmp_path, 3), nprocs=2)  # type: ignore[no-untyped-call]
    (one, skipped, stopped), (other, *same) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert [skipped, stopped] == same == [1, "patience"]
    for name in ("2.weight", "2.bias"):
        assert one[name].tolist() == other[name].tolist()
    alone = fit(Line(), FitSettings(epochs=5, learning_rate=0.05, patience=0), LocalWorker(folder=tmp_path))
    assert len(alone.history) == 5
    assert alone.history[0]["validation/loss"] == 2.5  # of both


# --- curves ------------------------------------------------------------------------------------------------


def test_curves_are_written_for_tensorboard_and_gaps_left_for_nonsense(tmp_path: Path) -> None:
    with Curves(tmp_path, name="site-1") as curves:
        curves.add(1, {"train/loss": 0.5, "validation/loss": math.nan})
        curves.add(2, {"train/loss": 0.25, "validation/loss": 1.5})
    written = b"".join(path.read_bytes() for path in (tmp_path / "site-1").iterdir())
    assert written.count(b"train/loss") == 2
    assert written.count(b"validation/loss") == 1


def test_curves_go_to_weights_and_biases_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    run = types.SimpleNamespace(
        log=lambda figures, step: told.append((step, figures)), finish=lambda: told.append("finished")
    )

    def init(**how: str) -> types.SimpleNamespace:
        told.append(how)
        return run

    fake = types.SimpleNamespace(init=init)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with Curves(tmp_path, name="site-1", wandb_project="city") as curves:
        curves.add(1, {"train/loss": 0.5})
    assert told == [{"project": "city", "name": "site-1"}, (1, {"train/loss": 0.5}), "finished"]


def test_weights_and_biases_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"mmstream\[wandb\]"):
        Curves(tmp_path, name="site-1", wandb_project="city")
