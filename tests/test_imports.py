"""The arrows of the house: who may import whom, read from the source, so that it stays a house."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGE_FOLDERS = ("sources", "encoders", "normality", "fusion", "alerts", "storage")
BASE = ("types", "errors", "stages", "config")
MEETING_PLACES = ("pipeline", "analysis", "shard", "fusing", "feed", "rules", "understanding", "training")
MEETING_PLACES += ("testing", "evaluation")
WEB = ("ray", "fastapi", "starlette", "uvicorn", "services")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


LIBRARY = sorted((ROOT / "mmstream").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_knows_neither_ray_nor_the_web_nor_the_services(path: Path) -> None:
    forbidden = {name for name in imports(path) if name.split(".")[0] in WEB}
    assert not forbidden, f"{path} imports {sorted(forbidden)}"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_stage_folders_never_import_each_other_nor_what_strings_them_together(path: Path) -> None:
    parts = path.relative_to(ROOT / "mmstream").parts
    if parts[0] not in STAGE_FOLDERS:
        return
    others = [folder for folder in (*STAGE_FOLDERS, *MEETING_PLACES) if folder != parts[0]]
    wrong = {name for name in imports(path) for other in others if name.startswith(f"mmstream.{other}")}
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("name", BASE)
def test_the_base_imports_only_the_base(name: str) -> None:
    wrong = {
        module
        for module in imports(ROOT / "mmstream" / f"{name}.py")
        if module.startswith("mmstream.") and module.split(".")[1] not in BASE
    }
    assert not wrong, f"{name}.py imports {sorted(wrong)}"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_media_libraries_stay_in_sources_and_torch_in_encoders_and_training(path: Path) -> None:
    parts = path.relative_to(ROOT / "mmstream").parts
    roots = {name.split(".")[0] for name in imports(path)}
    assert "av" not in roots or parts[0] == "sources", f"{path} imports av"
    heavy = roots & {"torch", "torchvision", "transformers", "tokenizers"}
    assert not heavy or parts[0] in ("encoders", "training"), f"{path} imports {sorted(heavy)}"


def test_importing_the_library_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys, mmstream.types, mmstream.stages; print(sorted({'ray','torch','av','fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
