"""How `bench encode` puts its turns together, its bare loop, and the models that it makes; the figures are no tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.encoders.batching import build_replica, check_inputs
from mmstream.errors import ConfigError
from mmstream.types import PictureSpec, SoundSpec, WordsSpec
from services import bench_encode
from services.bench_encode import BareLoop, in_turns
from services.bench_models import ARCHITECTURES, Architecture, make_inputs
from services.cli import app
from tests.encoders.tiny import replica_options


def test_both_sides_take_turns_in_both_orders_and_the_first_turn_does_not_count() -> None:
    """The machine gets a tenth slower with every call; the ratio must hardly show it."""
    asked: list[str] = []

    def side(name: str, inputs_per_s: float) -> bench_encode.Counted:
        asked.append(name)
        wall_s = 1.0 + 0.1 * len(asked)
        return round(1000 * inputs_per_s), 1000 * wall_s, 500 * wall_s

    row = in_turns(lambda _: side("floor", 10.0), lambda _: side("ours", 9.0), seconds=8.0)
    assert asked == ["floor", "ours", "ours", "floor"] * 2 + ["floor", "ours"]
    assert row["ratio"] == pytest.approx(0.9, rel=0.02)
    assert row["ratio_cpu"] == pytest.approx(0.9, rel=0.02)
    assert row["ours"]["inputs_per_cpu_s"] == pytest.approx(2 * row["ours"]["inputs_per_s"])


def test_the_bare_loop_encodes_in_a_process_of_its_own_and_says_why_it_cannot(tmp_path: Path) -> None:
    tiny = Architecture(encoder="vision", make=lambda folder: replica_options("vision", folder))
    loop = BareLoop(tiny, tiny.make(tmp_path), "cpu")
    num_inputs, wall_s, cpu_s = loop.run(3, 0.2)
    loop.close()
    assert num_inputs > 0
    assert num_inputs % 3 == 0
    assert wall_s >= 0.2
    assert 0 < cpu_s < 10 * wall_s
    with pytest.raises(ConfigError, match="there is no folder"):
        BareLoop(tiny, {"folder": str(tmp_path / "lost")}, "cpu")


def test_an_architecture_of_real_size_is_what_its_encoder_loads(tmp_path: Path) -> None:
    architecture = ARCHITECTURES["resnet50"]
    encoder = build_replica(architecture.encoder, architecture.make(tmp_path), "cpu")
    assert encoder.encode(make_inputs(encoder.wants, 1)).shape == (1, 2048)


@pytest.mark.parametrize("wants", [PictureSpec(width_px=8, height_px=6, colour=True), SoundSpec(), WordsSpec()])
def test_inputs_are_what_an_encoder_wants(wants: PictureSpec | SoundSpec | WordsSpec) -> None:
    inputs = make_inputs(wants, 3)
    check_inputs(inputs, wants)
    assert len(np.unique(inputs, axis=0)) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "gpt"], "siglip2-b16"),
        (["--batch", "one"], "whole numbers"),
        (["--batch", "0"], "at least 1"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["bench", "encode", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output
