"""What the store tells of the last swap of each model, for people to read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mmstream.training.swap import Swapped

MODEL_SWAPS = "model_swaps"
"""Key in the store: JSON, model -> its last `SwapRecord`."""
MODEL_LOOKS = "model_looks"
"""Key in the store: JSON, model -> how well the version in use keeps the budget, as a sentence; while it is watched."""

What = Literal["promote", "roll back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapRecord:
    """The last change of a model's version, under way or over."""

    model: str
    version: str = ""
    """The new one; empty: none, or not known yet."""
    what: What = "promote"
    state: Literal["running", "done", "failed"] = "running"
    sentence: str = ""
    """Why it failed, or what feeds have to do without."""
    before: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Step -> how long it took."""

    def failed(self, sentence: str, at_s: float) -> SwapRecord:
        return dataclasses.replace(self, state="failed", sentence=sentence, ended_s=at_s)

    def finished(self, done: Swapped, at_s: float) -> SwapRecord:
        return dataclasses.replace(
            self,
            state="done",
            version=done.version,
            before=done.before,
            seconds=dict(done.seconds),
            sentence=" ".join(f"{note}." for note in done.notes),
            ended_s=at_s,
        )


def read_swaps(text: str | None) -> dict[str, SwapRecord]:
    """From the store. Unknown keys are left out: an older program can read what a newer one wrote."""
    known = {each.name for each in dataclasses.fields(SwapRecord)}
    return {
        model: SwapRecord(**{key: item for key, item in record.items() if key in known})
        for model, record in json.loads(text or "{}").items()
    }
