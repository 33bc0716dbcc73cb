"""The examples of docs/learning.md run: labels of one's own, and a model of one's own through the whole night."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmstream.config import SiteConfig
from mmstream.fusion import FUSERS
from mmstream.training.fusion_nets import FUSION_NETS
from mmstream.training.night import Night, kinds_of
from mmstream.training.promote import ABSORBED_RAISED, CONFIRMED_FOUND, COST
from mmstream.training.registry import Registry
from mmstream.training.trainee import KINDS
from tests.training.made_up import make_corpus

TEXT = (Path(__file__).parents[2] / "docs" / "learning.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return str(found)


def test_labels_of_ones_own_are_learned_from(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block("python")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # two threads that wait for each other take ten times as long
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found to within a window, from labels of stretches alone: True\n"


@pytest.fixture
def foresight(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("foresight_example")
    monkeypatch.setitem(sys.modules, "foresight_example", module)
    exec(compile(block("python kind"), "foresight_example", "exec"), module.__dict__)
    return "foresight_example:ForesightKind"


def test_a_model_of_ones_own_goes_through_the_night(foresight: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    promoted: list[str] = []
    promote: Callable[[str, str, str], Any] = lambda model, version, reason: promoted.append(  # noqa: E731
        registry.promote(model, version, reason=reason, at_s=1.0).version
    )
    night = Night(
        registry=registry,
        kinds=kinds_of([foresight]),
        options={"foresight": {"epochs": 3}},
        promote=promote,
        now=lambda: 1_000.0,
    )
    report = night.run(make_corpus(("gate",), num_train=30, num_held_out=8))
    (entry,) = report.entries
    assert entry.outcome in ("promoted", "refused"), entry.sentence
    assert entry.ruling is not None
    assert "events" in entry.sentence or "alerts" in entry.sentence
    version = registry.version("foresight", entry.version)
    assert version.reason == entry.sentence
    assert entry.epochs[-1]["validation/loss"] < entry.epochs[0]["validation/loss"]
    assert bool(promoted) == (entry.outcome == "promoted")


def test_the_site_of_the_example_is_one() -> None:
    site = SiteConfig.model_validate(yaml.safe_load(block("yaml")))
    assert site.fusion.rule in FUSERS
    assert set(site.training.models) <= set(KINDS)


def test_every_method_and_kind_stands_in_the_document_and_the_numbers_of_the_gate_are_its_own() -> None:
    for name in FUSION_NETS:
        assert f"| {name} |" in TEXT or f"| {name}" in TEXT, name
    for name in KINDS:
        assert f"| `{name}` |" in TEXT, name
    assert f"{CONFIRMED_FOUND:.0%}".replace("%", " %") in TEXT
    assert f"at most {ABSORBED_RAISED:.0%}".replace("%", " %") in TEXT
    assert f"at most {COST:.0%}".replace("%", " %") in TEXT
