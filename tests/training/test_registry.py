"""Model versions: kept, promoted, rolled back, and never half of anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmstream.errors import StoreError
from mmstream.training.registry import CURRENT, MANIFEST, Lineage, ModelVersion, Registry

LINEAGE = Lineage(code="1.0", feeds=("gate-3",), num_windows=40, metrics={"auc": 0.9}, settings={"epochs": 3})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def add(registry: Registry, number: int, name: str = "site-picture") -> ModelVersion:
    files = {"model.safetensors": bytes([number]) * 100, "part/config.json": b"{}"}
    return registry.add(name, files, LINEAGE, made_s=1_700_000_000.0 + 60 * number)


def test_a_version_keeps_its_files_and_where_it_comes_from(registry: Registry, tmp_path: Path) -> None:
    made = add(registry, 1)
    [found] = registry.versions("site-picture")
    assert found == made == registry.version("site-picture", made.version)
    assert (found.state, found.lineage) == ("candidate", LINEAGE)
    folder = registry.fetch(found, tmp_path / "out")
    assert (folder / "model.safetensors").read_bytes() == b"\x01" * 100
    assert (folder / "part/config.json").read_bytes() == b"{}"
    assert registry.names() == ["site-picture"]
    assert registry.current("site-picture") is None


def test_adding_the_same_again_is_the_same_version(registry: Registry) -> None:
    assert add(registry, 1).version == add(registry, 1).version
    assert len(registry.versions("site-picture")) == 1


def test_promotion_and_the_way_back(registry: Registry) -> None:
    first, second, third = (add(registry, number) for number in (1, 2, 3))
    for version in (first, second, third):
        assert registry.promote("site-picture", version.version, reason="better", at_s=5.0).state == "current"
    assert [v.state for v in registry.versions("site-picture")] == ["current", "former", "former"]
    back = registry.roll_back("site-picture", reason="too many alerts", at_s=6.0)
    assert back is not None
    assert back.version == second.version
    assert registry.version("site-picture", third.version).state == "refused"
    assert registry.version("site-picture", third.version).reason == "too many alerts"
    assert registry.roll_back("site-picture", reason="again", at_s=7.0) == registry.current("site-picture")
    assert registry.roll_back("site-picture", reason="to the shipped one", at_s=8.0) is None
    with pytest.raises(StoreError, match="nothing to roll back"):
        registry.roll_back("site-picture", reason="", at_s=9.0)


def test_a_refused_version_stays_with_its_reason_and_the_one_in_use_cannot_be_refused(registry: Registry) -> None:
    first, second = add(registry, 1), add(registry, 2)
    refused = registry.refuse("site-picture", second.version, reason="recall fell by 4 %")
    assert (refused.state, refused.reason) == ("refused", "recall fell by 4 %")
    registry.promote("site-picture", first.version, reason="", at_s=1.0)
    with pytest.raises(StoreError, match="is in use"):
        registry.refuse("site-picture", first.version, reason="")


def test_what_was_never_finished_does_not_exist(registry: Registry, tmp_path: Path) -> None:
    made = add(registry, 1)
    (tmp_path / "site-picture" / made.version / MANIFEST).unlink()
    assert registry.versions("site-picture") == []
    assert registry.names() == []
    with pytest.raises(StoreError, match="it has none"):
        registry.version("site-picture", made.version)


def test_a_damaged_file_is_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    made = add(registry, 1)
    (tmp_path / "site-picture" / made.version / "model.safetensors").write_bytes(b"gone bad")
    with pytest.raises(StoreError, match=r"model.safetensors is missing or damaged"):
        registry.fetch(made, tmp_path / "out")


def test_pruning_keeps_the_newest_the_one_in_use_and_the_way_back(registry: Registry) -> None:
    versions = [add(registry, number) for number in range(8)]
    for version in versions[:3]:
        registry.promote("site-picture", version.version, reason="", at_s=1.0)
    assert registry.prune("site-picture", keep=2) == 3
    left = {version.version for version in registry.versions("site-picture")}
    assert left == {version.version for version in (*versions[:3], *versions[6:])}


@pytest.mark.parametrize("name", ["../up", "", "a/../b", "/etc"])
def test_no_name_leads_out_of_the_registry(registry: Registry, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a model"):
        registry.versions(name)
    with pytest.raises(StoreError, match="cannot be called"):
        registry.add("site-picture", {f"{name}/x": b""}, LINEAGE, made_s=1.0)


def test_a_registry_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no model registry there"):
        Registry("nosuch://bucket/path")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        add(Registry(tmp_path / "file"), 1)


SWAPPING = """
import itertools, sys
from mmstream.training.registry import Registry
registry = Registry(sys.argv[1])
print("ready", flush=True)
for number in itertools.count():
    registry.promote("site-picture", sys.argv[2 + number % 2], reason="x" * 2000, at_s=float(number))
"""


def test_a_swap_that_is_killed_leaves_the_old_model_or_the_new_one(registry: Registry, tmp_path: Path) -> None:
    versions = [add(registry, number).version for number in (1, 2)]
    registry.promote("site-picture", versions[0], reason="", at_s=0.0)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SWAPPING, str(tmp_path), *versions], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(50):  # readers beside the writer see whole pointers only
            assert registry.current("site-picture") is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        current = registry.current("site-picture")
        assert current is not None
        assert current.version in versions
    assert (tmp_path / "site-picture" / CURRENT).is_file()
