"""``mmstream eval video --models``: the same command before and after something has been trained and promoted."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from mmstream.edge_models import FILE
from mmstream.training.registry import Lineage, Registry
from services.cli_eval import eval_app
from tests.encoders.street import make_net
from tests.sources.material import write_clip

runner = CliRunner()


def test_motion_judges_alone_until_a_version_is_in_use_and_the_report_says_which(tmp_path: Path) -> None:
    for name, seconds in (("normal/a", 8), ("normal/b", 8), ("normal/c", 8), ("test/c", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_clip(tmp_path / f"{name}.mp4", seconds=seconds, step_px=2)
    registry, out = tmp_path / "models", tmp_path / "report.json"
    folders = ["--normal", str(tmp_path / "normal"), "--test", str(tmp_path / "test"), "--json", str(out)]
    before = runner.invoke(eval_app, ["video", *folders, "--models", str(registry)])
    assert before.exit_code == 0, before.stderr
    assert "no version of expectation.clip is in use" in before.stdout
    without = json.loads(out.read_text())
    assert without["models"] == {}

    models = Registry(registry)
    made = models.add("expectation.clip", {FILE: make_net().save()}, Lineage(code="1"), made_s=1e9)
    models.promote("expectation.clip", made.version, reason="better", at_s=1e9)
    after = runner.invoke(eval_app, ["video", *folders, "--models", str(registry)])
    assert after.exit_code == 0, after.stderr
    assert made.version in after.stdout
    with_it = json.loads(out.read_text())
    assert with_it["models"] == {"expectation": made.version}
    assert with_it["clips"]["c"]["scores"] != without["clips"]["c"]["scores"]

    wrong = runner.invoke(eval_app, ["video", *folders, "--models", str(registry), "--train"])
    assert wrong.exit_code == 2
    assert "one of the two" in wrong.stderr
    (registry / "expectation.clip" / made.version / FILE).write_bytes(b"damaged")
    damaged = runner.invoke(eval_app, ["video", *folders, "--models", str(registry)])
    assert damaged.exit_code == 2
    assert "damaged" in damaged.stderr
    assert "Traceback" not in damaged.output
