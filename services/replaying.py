"""Replays on behalf of the API: each in a process of its own that is nice to the others and gone afterwards.

Going through days of many cameras keeps a core busy for seconds and needs LanceDB; the API must answer meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmstream.config import SiteConfig
from mmstream.errors import MmstreamError, StoreError
from mmstream.replay.answering import Replayer
from mmstream.replay.beginning import kept_blocks
from mmstream.replay.whatif import WhatIf
from mmstream.settle import settle
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.open import open_media
from mmstream.training.registry import Registry
from mmstream.training.versions import registry_of
from mmstream.types import Alert

LIMIT_S = 300.0
"""A month of hundreds of cameras takes minutes; what takes longer is given up."""
NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayProcess:
    """Answers a question by starting a process for it. Blocks: call it on a thread."""

    site: SiteConfig
    limit_s: float = LIMIT_S

    def run(self, question: WhatIf, own: Mapping[str, float | None], alerts: Sequence[Alert]) -> dict[str, Any]:
        """``own``: feed -> its own budget, None where the site's holds; -> `Answer.to_json`.

        Raises:
            StoreError: the archive cannot be read, it took too long, or the process ended without an answer.
        """
        per_camera = self.site.budget.per_camera(len(own))
        task = {
            "site": self.site.model_dump_json(),
            "question": question.model_dump(mode="json"),
            "budgets": {feed_id: budget or per_camera for feed_id, budget in own.items()},
            "alerts": [alert.to_json() for alert in alerts],
        }
        # a worker of a cluster may have got these packages in a folder of its own
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "services.replaying"],
                input=json.dumps(task).encode(),
                stdout=subprocess.PIPE,
                timeout=self.limit_s,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            sentence = f"the replay took more than {self.limit_s:.0f} s and was given up; ask about fewer days or feeds"
            raise StoreError(sentence) from None
        said = json.loads(done.stdout) if done.returncode == 0 and done.stdout else None
        if said is None:
            raise StoreError(f"the replay ended without an answer (code {done.returncode}); the API's log has more")
        if "trouble" in said:
            raise StoreError(said["trouble"])
        answer: dict[str, Any] = said["answer"]
        return answer

    def report(self, model: str) -> str:
        """What the gate found about ``SUBJECT@VERSION``. Another model sees otherwise, which nothing that is kept of
        windows can tell: what its trial on held-out days has shown stands.

        Raises:
            StoreError: there is no such version, or nobody has tried it.
        """
        subject, _, version = model.partition("@")
        if not version:
            raise StoreError(f"want a model as SUBJECT@VERSION, got {model!r}; 'mmstream models list' shows them")
        found = Registry(registry_of(self.site)).version(subject, version)
        if not found.reason:
            raise StoreError(f"{model} has not been tried on held-out days yet; training does that")
        return f"{model} is {found.state}. Its trial on held-out days: {found.reason}"


def answer_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """What the process does with what it was given."""
    site = SiteConfig.model_validate_json(task["site"])
    media = open_media(site)
    replayer = Replayer(
        site=site,
        budgets=task["budgets"],
        alerts=[Alert.from_json(alert) for alert in task["alerts"]],
        archive=ArchiveReader.from_site(site),
        calibrated=lambda feed_id: kept_blocks(media, feed_id),
    )
    try:
        return {"answer": replayer.answer(WhatIf.model_validate(task["question"])).to_json()}
    except MmstreamError as error:
        return {"trouble": error.sentence}


if __name__ == "__main__":
    os.nice(NICENESS)
    settle()
    sys.stdout.write(json.dumps(answer_task(json.loads(sys.stdin.read()))))
