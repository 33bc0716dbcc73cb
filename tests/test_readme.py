"""The documents are read against the code: what they name exists, what exists is named, their examples run."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

import mmstream
from mmstream.config import FeedConfig, RuleConfig, SiteConfig, load_site
from mmstream.encoders import EDGE_ENCODERS, ON_DEMAND_MODELS, REPLICA_ENCODERS
from mmstream.pipeline import LocalSite
from mmstream.sources.synthetic import render_clip
from mmstream.stages import EdgeEncoder, ReplicaEncoder, load
from mmstream.storage.open import open_media, open_store
from mmstream.testing import make_window
from services.cli import app as command_line
from tests import test_contracts
from tests.services.running import FakeSite

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
DOCUMENTS = {path.name: path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks whose first line is exactly ```` ```language ````."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    """The text under ``## title`` of the README."""
    return re.split(r"^## ", README.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the body of the first table under ``## title``."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# --- settings ----------------------------------------------------------------------------------------------


LISTS: dict[str, type[BaseModel]] = {"feeds": FeedConfig, "rules": RuleConfig}


def settings_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, default as plain JSON, or "required") of every field below ``model``."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if model is SiteConfig and name in LISTS:
            yield from settings_of(LISTS[name], f"{name}[].")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, f"{prefix}{name}.")
        elif field.is_required():
            yield prefix + name, "required"
        else:
            default = field.get_default(call_default_factory=True)
            yield prefix + name, str(default) if isinstance(default, Path) else _plain(default)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def documented_settings() -> dict[str, Any]:
    found = {}
    for name, default, meaning in rows("Configuration"):
        assert meaning, f"{name} has no meaning"
        assert name.strip("`") not in found, f"{name} stands there twice"
        found[name.strip("`")] = yaml.safe_load(default.strip("`"))
    return found


def test_every_setting_stands_in_the_readme_with_its_default_and_no_other_does() -> None:
    assert documented_settings() == dict(settings_of(SiteConfig, ""))


def test_the_type_of_a_default_counts_too() -> None:
    documented = documented_settings()
    for name, default in settings_of(SiteConfig, ""):
        assert type(documented[name]) is type(default), name


def test_the_example_site_is_one(tmp_path: Path) -> None:
    (example,) = blocks(section("Connect your camera"), "yaml")
    (tmp_path / "site.yaml").write_text(example)
    site = load_site(tmp_path / "site.yaml", {"CAM_USER": "u", "CAM_PASSWORD": "p"})
    assert [feed.id for feed in site.feeds] == ["gate-3", "hall-sensors"]


def test_the_example_of_models_and_rules_is_one() -> None:
    (example,) = blocks(section("Let it read, listen and search"), "yaml")
    site = SiteConfig.model_validate(yaml.safe_load(example))
    assert {name for name in site.encoders.replicas if name in REPLICA_ENCODERS} == set(site.encoders.replicas)
    assert set(site.understanding.options) <= set(ON_DEMAND_MODELS)
    assert [rule.name for rule in site.rules] == ["fire", "help"]


def test_the_example_in_contributing_is_one_too() -> None:
    (example,) = blocks(CONTRIBUTING, "yaml")
    site = SiteConfig.model_validate(yaml.safe_load(example))
    assert set(site.encoders.options) == set(site.encoders.replicas) <= set(REPLICA_ENCODERS)


# --- commands and routes -----------------------------------------------------------------------------------


def commands_of(command: Any, name: str) -> dict[str, Any]:
    """Typer's command objects (their class is private), the groups left out."""
    below: Mapping[str, Any] = getattr(command, "commands", {})
    if not below:
        return {name: command}
    return {key: leaf for part in below for key, leaf in commands_of(below[part], f"{name} {part}").items()}


COMMANDS = commands_of(typer.main.get_command(command_line), "mmstream")


def test_every_command_stands_in_the_readme_and_no_other_does() -> None:
    assert sorted(row[0].strip("`") for row in rows("Commands")) == sorted(COMMANDS)


def command_lines() -> Iterator[Any]:
    """Every call of mmstream in a shell block of a document: the words after the name."""
    for name, path in DOCUMENTS.items():
        for block in blocks(path.read_text(encoding="utf-8"), "bash"):
            for call in re.findall(r"^mmstream (.+?)(?:\s+#.*)?$", block, re.MULTILINE):
                yield pytest.param(call.split(), id=f"{name}: {call}")


@pytest.mark.parametrize("words", list(command_lines()))
def test_the_commands_and_options_in_the_examples_exist(words: list[str]) -> None:
    name = max(
        (name for name in COMMANDS if ["mmstream", *words][: len(name.split())] == name.split()), key=len, default=""
    )
    assert name, f"there is no command 'mmstream {' '.join(words)}'"
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_route_stands_in_the_readme_and_no_other_does(tmp_path: Path) -> None:
    site = FakeSite(tmp_path)
    paths = site.app().openapi()["paths"]
    site.close()
    real = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = [route for row in rows("HTTP") for route in re.findall(r"`([A-Z]+ /[^`]*)`", row[0])]
    assert len(named) == len(set(named))
    assert set(named) == real


def test_the_addresses_in_the_examples_are_routes(tmp_path: Path) -> None:
    site = FakeSite(tmp_path)
    paths = set(site.app().openapi()["paths"])
    site.close()
    asked = set(re.findall(r"http://127\.0\.0\.1:8000(/api/\S+)", README))
    assert asked
    assert asked <= paths


# --- files, links, make ------------------------------------------------------------------------------------


def tree() -> dict[str, str]:
    """Path as the file tree indents it, relative to the root -> the words beside it and below, up to the next."""
    (text,) = blocks(section("The files"), "")
    found: dict[str, str] = {}
    package = last = ""
    for line in text.splitlines():
        if line.startswith(" " * 20):  # goes on
            found[last] += " " + line
            continue
        names, _, words = line.strip().partition("   ")
        for name in names.split():
            last = name if not line.startswith(" ") else package + name
            found[last] = words
        if not line.startswith(" "):
            package = names if names.endswith("/") else ""
    return found


def named_files() -> set[str]:
    """Every file that the tree names, also among the words beside a folder."""
    found = set()
    for path, words in tree().items():
        if path.endswith("/"):
            found |= {path + word for word in re.findall(r"[\w/]+\.(?:py|md)\b", words)}
        else:
            found.add(path)
    return found


def test_every_path_in_the_file_tree_exists() -> None:
    assert [path for path in sorted({*tree(), *named_files()}) if not (ROOT / path).exists()] == []


def test_every_module_of_the_two_packages_is_in_the_file_tree() -> None:
    modules = {str(path.relative_to(ROOT)) for name in ("mmstream", "services") for path in (ROOT / name).rglob("*.py")}
    assert {path for path in modules if not path.endswith("__init__.py")} - named_files() == set()


def test_every_path_in_backticks_exists() -> None:
    for name, path in DOCUMENTS.items():
        found = re.findall(r"`((?:mmstream|services|tests|deploy|docs)/[\w./]*)`", path.read_text(encoding="utf-8"))
        invented = {"tests/encoders/test_flicker.py"}  # what the reader is about to write
        missing = [each for each in found if not (ROOT / each).exists() and each not in invented]
        assert missing == [], f"{name} names {missing}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_links_to_is_there(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", DOCUMENTS[name].read_text(encoding="utf-8"))
    assert [target for target in targets if not (DOCUMENTS[name].parent / target).is_file()] == []


def test_the_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set()
    for path in DOCUMENTS.values():
        for words in re.findall(
            r"(?:^|`)make ((?:[a-z]+ ?)+)(?:`|\s|$)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            asked |= set(words.split())
    assert {"demo", "test"} <= asked <= targets


# --- examples that run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", blocks(README, "python"))
def test_the_python_in_the_readme_runs(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+\.?\d* windows, 0 alerts\n", done.stdout)
    assert float(done.stdout.split()[0]) >= 10


def example(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the example of CONTRIBUTING importable as the module ``name``."""
    (program,) = blocks(CONTRIBUTING, f"python {kind}")
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(program, name, "exec"), module.__dict__)


@pytest.fixture
def edge_example(monkeypatch: pytest.MonkeyPatch) -> str:
    example("edge", "flicker_example", monkeypatch)
    monkeypatch.setitem(EDGE_ENCODERS, "flicker", "flicker_example:FlickerEncoder")
    return "flicker"


@pytest.fixture
def replica_example(monkeypatch: pytest.MonkeyPatch) -> str:
    example("replica", "levels_example", monkeypatch)
    monkeypatch.setitem(REPLICA_ENCODERS, "levels", "levels_example:LevelsEncoder")
    return "levels"


def promises(contract: type) -> list[str]:
    return [name for name in vars(contract) if name.startswith("test_")]


@pytest.mark.parametrize("promise", promises(test_contracts.TestEdgeEncoders))
def test_the_edge_encoder_of_contributing_keeps_the_contract(promise: str, edge_example: str) -> None:
    getattr(test_contracts.TestEdgeEncoders(), promise)(edge_example)


def test_the_edge_encoder_of_contributing_notices_what_it_says(edge_example: str) -> None:
    encoder: EdgeEncoder = load(EDGE_ENCODERS, edge_example)()
    answer = encoder.encode(make_window())
    assert answer is not None
    assert answer.vector[1] >= answer.vector[0] > 0


@pytest.mark.parametrize("promise", promises(test_contracts.TestReplicaEncoders))
def test_the_replica_encoder_of_contributing_keeps_the_contract(promise: str, replica_example: str) -> None:
    encoder: ReplicaEncoder = load(REPLICA_ENCODERS, replica_example)(device="cpu")
    getattr(test_contracts.TestReplicaEncoders(), promise)(encoder)


def test_what_the_examples_of_contributing_say_reaches_fusion(
    edge_example: str, replica_example: str, tmp_path: Path
) -> None:
    recording = tmp_path / "street.mp4"
    render_clip("walkway", recording, duration_s=6, seed=1)
    site = SiteConfig.model_validate(
        {
            "site": {"data_dir": tmp_path},
            "encoders": {"edge": [edge_example], "replicas": [replica_example], "device": "cpu"},
            "feeds": [{"id": "street", "url": str(recording), "loop": True}],
        }
    )
    store = open_store(site, write=True)
    local = LocalSite(site, store=store, media=open_media(site))

    async def until_both_were_heard() -> Mapping[str, Any]:
        running = asyncio.create_task(local.run(for_s=60))
        analysis: Mapping[str, Any] = {}
        while not running.done() and not {"flicker", "levels"} <= set(analysis.get("bank_rows", ())):
            await asyncio.sleep(0.1)
            analysis = local.shard.statuses().get("street", {}).get("analysis", {})
        local.shard.stop()
        await running
        return analysis

    analysis = asyncio.run(until_both_were_heard())
    store.close()
    assert {"flicker", "levels"} <= set(analysis["bank_rows"])
    assert (analysis["num_unknown_channel"], analysis["num_late"]) == (0, 0)


# --- changelog ---------------------------------------------------------------------------------------------


def test_the_changelog_knows_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", CHANGELOG, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == mmstream.__version__
    body = CHANGELOG.partition(f"## [{mmstream.__version__}]")[2]
    assert re.search(r"^- \w", body, re.MULTILINE)
