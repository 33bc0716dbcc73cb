"""Versions watched and taken back by themselves, with a real registry and store, and a place that only notes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmstream.adopting import FeedAdoption
from mmstream.config import SiteConfig
from mmstream.errors import ConfigError, StageError
from mmstream.storage.sqlite import SqliteStore
from mmstream.training.registry import Lineage, Registry
from services import models
from services.model_record import MODEL_LOOKS, MODEL_SWAPS, SwapRecord, read_swaps
from services.models import ModelKeeper, looks_at
from tests.services.running import make_alert

PROMOTED_S = 1_700_000_000.0
HOUR_S = 3600.0


class Place:
    """`swap.Place` that notes what it is asked for."""

    running = ""
    """What the encoders run."""
    refused: tuple[str, ...] = ()
    wait: threading.Event | None = None

    def __init__(self, site: SiteConfig) -> None:
        del site

    def embed(self, model: str, version: str, old: str) -> Sequence[FeedAdoption]:
        del model, version, old
        if self.wait is not None:
            assert self.wait.wait(60)
        return ()

    def adopt(self, adoption: FeedAdoption) -> bool:
        raise AssertionError(adoption)

    def push(self, model: str, version: str) -> None:
        assert model == "site"
        if version in self.refused:
            raise ConfigError(f"{version} does not load")
        type(self).running = version

    def edge_versions(self) -> dict[str, str]:
        return {}

    def runs(self, model: str, version: str) -> bool:
        return model == "site" and self.running == version


class Remote:
    """A method of the ledger, as an actor offers it."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    async def remote(self, *args: Any) -> Any:
        return self._method(*args)


class Site:
    def __init__(self, folder: Path) -> None:
        self.config = SiteConfig.model_validate(
            {"site": {"data_dir": folder}, "store": {}, "encoders": {"replicas": ["site"]}}
        )
        self.store = SqliteStore(folder / "ledger.db")
        self.registry = Registry(folder / "models")
        self.now_s = PROMOTED_S
        self.looked = 0
        self.put_value, self.value = Remote(self.store.put_value), Remote(self.store.value)
        for feed_id in ("gate", "yard"):
            self.store.put_feed(feed_id, {"id": feed_id, "url": "push:"})
        blocks = {"blocks": 4032, "budget_per_day": 2.0}
        self.store.put_statuses({feed_id: {"analysis": blocks} for feed_id in ("gate", "yard")})

    def keeper(self) -> ModelKeeper:
        return ModelKeeper(self.config, self, look_for_encoders=self._look, now=lambda: self.now_s)

    def add(self, number: int) -> str:
        return self.registry.add("site", {"a": b"%d" % number}, Lineage(code="1"), made_s=1e9 + number).version

    def swap(self) -> SwapRecord:
        return read_swaps(self.store.value(MODEL_SWAPS))["site"]

    def flood(self, count: int) -> None:
        from mmstream.storage.base import Commit

        alerts = [make_alert("gate", PROMOTED_S + 300.0 * n + 1.0, kind="unusual") for n in range(count)]
        self.store.commit(Commit(feed_id="gate", alerts=alerts))

    def _look(self) -> None:
        self.looked += 1


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path)
    place = type("OwnPlace", (Place,), {})
    monkeypatch.setattr(models, "RayPlace", place)
    monkeypatch.setattr(site, "place", place, raising=False)
    monkeypatch.setattr(models, "open_store", lambda *_, **__: SqliteStore(tmp_path / "ledger.db", write=False))
    yield site
    site.store.close()


def run(task: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await task

    return asyncio.run(main())


def test_a_version_that_floods_is_taken_back_by_itself_and_why_is_told(site: Site) -> None:
    first, second = site.add(1), site.add(2)
    keeper = site.keeper()
    run(keeper.promote("site", first, "Better."))
    run(keeper.promote("site", second, "Better."))
    site.flood(40)
    site.now_s = PROMOTED_S + 12 * HOUR_S
    run(keeper._watch())
    in_use = site.registry.in_use("site")
    assert (in_use.version, in_use.rolled_back) == (first, True)
    assert in_use.reason.startswith("Taken back by itself: 40 alerts that nobody has confirmed")
    assert site.registry.version("site", second).state == "refused"
    assert site.place.running == first  # type: ignore[attr-defined]
    assert json.loads(site.store.value(MODEL_LOOKS) or "")["site"].startswith("40 alerts")
    site.now_s += 60.0
    run(keeper._watch())  # the flood goes on under the old one: the street has changed, not the model
    assert site.registry.in_use("site").version == first


def test_a_version_that_keeps_the_budget_stays(site: Site) -> None:
    version = site.add(1)
    run(site.keeper().promote("site", version, "Better."))
    site.flood(3)
    site.now_s = PROMOTED_S + 12 * HOUR_S
    run(site.keeper()._watch())
    assert site.registry.in_use("site").version == version


def test_after_a_week_nobody_watches_any_more(site: Site) -> None:
    run(site.keeper().promote("site", site.add(1), "Better."))
    site.flood(40)
    assert looks_at(site.config, PROMOTED_S + 6 * 24 * HOUR_S)["site"].num_alerts == 40
    assert looks_at(site.config, PROMOTED_S + 8 * 24 * HOUR_S) == {}


def test_what_became_of_a_swap_is_kept(site: Site) -> None:
    good, bad = site.add(1), site.add(2)
    keeper = site.keeper()
    run(keeper.promote("site", good, "Better."))
    assert (site.swap().state, site.swap().version, site.swap().what) == ("done", good, "promote")
    site.place.refused = (bad,)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="does not load"):
        run(keeper.promote("site", bad, "Better."))
    assert (site.swap().state, site.swap().sentence) == ("failed", f"{bad} does not load")
    assert site.registry.in_use("site").version == site.place.running == good  # type: ignore[attr-defined]


def test_a_mistake_in_a_swap_is_told_and_not_waited_for_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("somebody's mistake")

    monkeypatch.setattr(site.place, "push", broken)  # type: ignore[attr-defined]
    with pytest.raises(StageError, match="somebody's mistake"):
        run(site.keeper().promote("site", site.add(1), "Better."))
    assert site.swap().state == "failed"


def test_the_first_version_and_the_last_way_back_are_told_to_who_looks_for_encoders(site: Site) -> None:
    keeper = site.keeper()
    run(keeper.promote("site", site.add(1), "Better."))
    assert site.looked == 1
    run(keeper.promote("site", site.add(2), "Better."))
    assert site.looked == 1
    run(keeper.roll_back("site", "Worse."))
    run(keeper.roll_back("site", "Worse."))
    assert site.looked == 2


def test_a_second_swap_is_refused_while_one_is_under_way(site: Site) -> None:
    first, second = site.add(1), site.add(2)
    site.place.wait = threading.Event()  # type: ignore[attr-defined]

    async def both() -> None:
        keeper = site.keeper()
        keeper.begin("promote", "site", first, "Better.")
        with pytest.raises(ValueError, match="just being swapped"):
            keeper.begin("promote", "site", second, "Better.")
        site.place.wait.set()  # type: ignore[attr-defined]
        assert keeper._background is not None
        await asyncio.wait_for(keeper._background, 60)
        keeper.begin("promote", "site", second, "Better.")
        await asyncio.wait_for(keeper._background, 60)

    asyncio.run(both())
    assert site.registry.in_use("site").version == second


def test_whoever_starts_brings_encoders_back_and_says_what_was_broken_off(site: Site) -> None:
    version = site.add(1)
    site.registry.promote("site", version, reason="Better.", at_s=PROMOTED_S)
    record = SwapRecord(model="site", version="half", began_s=PROMOTED_S)
    site.store.put_value(MODEL_SWAPS, json.dumps({"site": dataclasses.asdict(record)}))
    site.place.running = "half"  # type: ignore[attr-defined]

    async def start() -> None:
        running = asyncio.create_task(site.keeper().run())
        for _ in range(6000):
            if site.place.running == version and site.swap().state == "failed":  # type: ignore[attr-defined]
                break
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(start())
    assert site.place.running == version  # type: ignore[attr-defined]
    assert "ended in the middle" in site.swap().sentence
