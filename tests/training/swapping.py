"""A site's models in one process without Ray: two encoders, one camera, a registry; and a swap that may be killed.

Run as a program it swaps, and kills itself with SIGKILL at the step that it is told.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mmstream.adopting import FeedAdoption
from mmstream.analysis import Judgement
from mmstream.config import BudgetSection, SiteConfig
from mmstream.errors import StageError
from mmstream.fusing import FusionCore
from mmstream.normality.adoption import Seen, learned_in_advance
from mmstream.shard import FuseBatch
from mmstream.storage.media import FolderMediaStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.training import swap
from mmstream.training.registry import Lineage, Registry
from mmstream.types import Channel, Float32

MODEL = "site"
ENCODERS = ("site", "site-sound")
CHANNELS = {
    "site": Channel(name="site", modality="picture"),
    "site-sound": Channel(name="site-sound", modality="sound"),
}
DIM = 4
SITE = SiteConfig(budget=BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60))
PLACES = ("embed", "adopt", "adopted", "push site", "push site-sound", "pushed", "point", "pointed")
"""Where a swap can be cut off: before each of these, or right after it."""


def nothing(place: str) -> None:
    del place


class SmallSite:
    """`swap.Place`, with files for what Serve keeps."""

    def __init__(
        self, folder: Path, *, at: Callable[[str], None] = nothing, second: int = 0, alerts_per_day: float = 600.0
    ) -> None:
        self.folder, self._at = folder, at
        self.registry = Registry(folder / "models")
        self.judged: list[Judgement] = []
        self.second = second
        media = FolderMediaStore(folder / "media")
        budget = SITE.budget.model_copy(update={"alerts_per_camera_per_day": alerts_per_day})
        self.core = FusionCore(
            SITE.model_copy(update={"budget": budget}),
            channels=CHANNELS,
            media=media,
            tracker_of=lambda _: None,
            now=lambda: 0.0,
            on_judgement=self.judged.append,
        )
        self.core.begin("cam")

    def add(self, number: int) -> str:
        files = {"model.safetensors": b"weights %d" % number}
        return self.registry.add(MODEL, files, Lineage(code="1"), made_s=1_700_000_000.0 + number).version

    def declared(self, encoder: str) -> str:
        """The version that the encoder was told to run."""
        path = self.folder / f"{encoder}.json"
        return str(json.loads(path.read_text())) if path.exists() else ""

    def start(self) -> None:
        """As whoever starts does: everything runs what the registry says."""
        self.push(MODEL, self.registry.in_use(MODEL).version)

    def watch(self, num_windows: int, *, apart: float = 0.0) -> None:
        """Windows of the versions that the encoders run. ``apart``: something is to be seen that never was before."""
        random = np.random.default_rng(self.second)
        first, self.second = self.second, self.second + num_windows
        for second in range(first, self.second):
            embeddings = [
                make_embedding(
                    float(second), channel=name, vector=(vector + apart).tolist(), model=f"site@{self.declared(name)}"
                )
                for name, vector in zip(ENCODERS, vectors(random, len(ENCODERS)), strict=True)
            ]
            self.core.push(FuseBatch(items=[make_encoded(float(second), embeddings)]))

    # -- swap.Place ---------------------------------------------------------------------------------

    def embed(self, model: str, version: str, old: str) -> Iterator[FeedAdoption]:
        del model, old
        self._at("embed")
        if version:
            seen = [Seen(at_s=15.0 * i, vector=v) for i, v in enumerate(vectors(np.random.default_rng(1), 200))]
            models = f"site@{version}"
            histories = tuple(learned_in_advance(CHANNELS[n], seen, model=models, dim=DIM) for n in ENCODERS)
            yield FeedAdoption(feed_id="cam", models=(models,), histories=histories)

    def adopt(self, adoption: FeedAdoption) -> bool:
        self._at("adopt")
        taken = self.core.adopt([adoption])
        self._at("adopted")
        return "cam" in taken

    def push(self, model: str, version: str) -> None:
        assert model == MODEL
        for name in ENCODERS:
            self._at(f"push {name}")
            part = self.folder / f"{name}.part"
            part.write_text(json.dumps(version))
            part.replace(self.folder / f"{name}.json")
        self._at("pushed")

    # -- whole swaps --------------------------------------------------------------------------------

    def promote(self, version: str) -> swap.Swapped:
        return swap.promote(_Registry(self.registry, self._at), self, MODEL, version, reason="Better.", at_s=1.0)

    def roll_back(self) -> swap.Swapped:
        return swap.roll_back(_Registry(self.registry, self._at), self, MODEL, reason="Worse.", at_s=2.0)


class _Registry(Registry):
    """The same registry, with the moments around moving the pointer."""

    def __init__(self, registry: Registry, at: Callable[[str], None]) -> None:
        super().__init__(registry._root)
        self._at = at

    def _put(self, path: str, data: bytes) -> None:
        if path.endswith("current.json"):
            self._at("point")
        super()._put(path, data)
        if path.endswith("current.json"):
            self._at("pointed")


def vectors(random: np.random.Generator, count: int) -> list[Float32]:
    return list(random.normal(size=(count, DIM)).astype(np.float32))


def refuse_at(place: str) -> Callable[[str], None]:
    def refuse(now: str) -> None:
        if now == place:
            raise StageError(f"no answer at {place}")

    return refuse


def die_at(place: str) -> Callable[[str], None]:
    def die(now: str) -> None:
        if now == place:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


if __name__ == "__main__":
    where, what, version, place = sys.argv[1:]
    small = SmallSite(Path(where), at=die_at(place))
    if what == "promote":
        small.promote(version)
    else:
        small.roll_back()
