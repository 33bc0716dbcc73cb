"""A feed takes another model over: its history at once, its threshold with the first window; no crash loses either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.adopting import MIN_PAIRS, FeedAdoption, Rereading, Switch
from mmstream.analysis import Judgement
from mmstream.config import BudgetSection, SiteConfig
from mmstream.fusing import FusionCore, verdicts_after
from mmstream.fusion.trained import MonotoneRule
from mmstream.normality.adoption import Seen, learned_in_advance
from mmstream.normality.memory import Memory
from mmstream.shard import FuseBatch
from mmstream.storage.base import AlertQuery
from mmstream.storage.sqlite import SqliteStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import Alert, Channel, EncodedWindow, Verdict
from tests.alerts.driving import BLOCK_S, make_calibrator
from tests.test_shard import DictMedia

SITE = SiteConfig(budget=BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60))
LOOKS = Channel(name="appearance", modality="picture")
LEARNED = Channel(name="site", modality="picture")
DIM = 4


def seen(count: int = 300, seed: int = 3) -> list[Seen]:
    random = np.random.default_rng(seed)
    return [Seen(at_s=15.0 * i, vector=random.normal(size=DIM).astype(np.float32)) for i in range(count)]


def adoption(
    channel: Channel = LEARNED, version: str = "2", *, feed_id: str = "cam", shift: float = 0.0
) -> FeedAdoption:
    model = f"{channel.name}@{version}"
    scores = np.linspace(0.0, 3.0, 300)
    return FeedAdoption(
        feed_id=feed_id,
        models=(model,),
        histories=(learned_in_advance(channel, seen(), model=model, dim=DIM),),
        rereading=Rereading.of(scores.tolist(), (scores + shift).tolist()) if shift else None,
    )


def seen_with(alert: Alert, verdict: Verdict | None = None) -> FeedAdoption:
    """What version 2 makes of footage in which the alert is: for it, the thing is elsewhere than for version 1."""
    strange = [
        Seen(at_s=alert.peak_s + i, vector=np.full(DIM, -25.0, np.float32), alert_id=alert.alert_id, verdict=verdict)
        for i in range(4)
    ]
    history = learned_in_advance(LEARNED, [*seen(), *strange], model="site@2", dim=DIM)
    return FeedAdoption(feed_id="cam", models=("site@2",), histories=(history,))


def windows(seconds: range, models: dict[str, str], seed: int = 0, shift: float = 0.0) -> list[EncodedWindow]:
    random = np.random.default_rng((seed, seconds.start))
    made = []
    for second in seconds:
        embeddings = [
            make_embedding(float(second), channel=channel, vector=random.normal(shift, size=DIM).tolist(), model=model)
            for channel, model in models.items()
        ]
        made.append(make_encoded(float(second), embeddings))
    return made


class Process:
    """A fusion process that may be killed."""

    def __init__(self, folder: Path, *channels: Channel) -> None:
        self.store, self.media = SqliteStore(folder / "ledger.db"), DictMedia()
        self.start(*channels)

    def start(self, *channels: Channel) -> None:
        known = {channel.name: channel for channel in channels}
        self.core = FusionCore(SITE, channels=known, media=self.media, tracker_of=self.store.tracker, now=lambda: 0.0)
        self.core.begin("cam")

    def push(self, items: list[EncodedWindow]) -> None:
        _, commits = self.core.push(FuseBatch(items=items))
        for commit in commits:
            self.store.commit(commit)

    def threshold(self) -> float:
        return float(self.core.summaries()["cam"]["threshold"])


# --- scores that read otherwise ----------------------------------------------------------------------------


def test_equally_rare_scores_are_matched() -> None:
    random = np.random.default_rng(0)
    before = random.exponential(size=4000)
    rereading = Rereading.of(before.tolist(), (2.0 * before + 0.1).tolist())
    assert rereading is not None
    scores = np.array([0.5, 1.0, 2.0])
    assert rereading(scores) == pytest.approx(2.0 * scores + 0.1, abs=0.02)


def test_too_few_windows_say_nothing() -> None:
    assert Rereading.of([1.0] * (MIN_PAIRS - 1), [1.0] * 1000) is None


@given(
    st.lists(st.floats(0, 8), min_size=MIN_PAIRS, max_size=MIN_PAIRS),
    st.lists(st.floats(0, 8), min_size=MIN_PAIRS, max_size=MIN_PAIRS),
    st.lists(st.floats(0, 16), min_size=2, max_size=20),
)
def test_a_higher_score_never_reads_as_a_lower_one(before: list[float], after: list[float], asked: list[float]) -> None:
    rereading = Rereading.of(before, after)
    assert rereading is not None
    read = rereading(np.sort(np.array(asked)))
    assert np.isfinite(read).all()
    assert (read >= 0.0).all()
    assert (np.diff(read) >= -1e-9).all()


def test_maxima_that_read_otherwise_move_the_threshold_with_them() -> None:
    calibrator = make_calibrator()
    maxima = np.random.default_rng(0).permutation(4032) / 4032 + 2.0
    for block, value in enumerate(maxima.tolist()):
        calibrator.observe(value, start_s=block * BLOCK_S, end_s=(block + 0.999) * BLOCK_S)
    before = calibrator.levels
    blocks = calibrator.num_blocks
    calibrator.adopt_maxima(lambda scores: scores + 0.75)
    assert calibrator.num_blocks == blocks
    assert calibrator.levels.alert == pytest.approx(before.alert + 0.75, abs=2e-3)
    assert calibrator.p(before.alert + 0.75) == pytest.approx(make_p(maxima, before.alert), abs=1e-3)


def make_p(maxima: np.ndarray[tuple[int], np.dtype[np.float64]], value: float) -> float:
    return (1 + np.count_nonzero(maxima[:-1] >= value)) / len(maxima)


def test_the_block_under_way_is_read_otherwise_too() -> None:
    calibrator = make_calibrator()
    calibrator.observe(2.0, start_s=0.0, end_s=299.0)
    calibrator.adopt_maxima(lambda scores: scores + 1.0)
    calibrator.observe(0.0, start_s=300.0, end_s=301.0)
    assert calibrator.num_blocks == 1
    assert calibrator.p(2.9) == 1.0
    assert calibrator.p(3.1) < 1.0


# --- feeds -------------------------------------------------------------------------------------------------


def test_an_adopted_model_is_judged_from_its_first_window_on(tmp_path: Path) -> None:
    process = Process(tmp_path, LOOKS, LEARNED)
    process.push(windows(range(200), {"appearance": "appearance@1", "site": "site@1"}))
    assert process.core.adopt([adoption()]) == {"cam": 1}
    told: list[Judgement] = []
    process.core._on_judgement = told.append
    process.push(windows(range(200, 202), {"appearance": "appearance@1", "site": "site@2"}))
    assert {(item.channel, item.model) for item in told[0].score.evidence} == {
        ("appearance", "appearance@1"),
        ("site", "site@2"),
    }


def test_the_threshold_moves_with_the_first_window_of_the_model_and_not_before(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    process.push(windows(range(400), {"site": "site@1"}))
    process.core.adopt([adoption(shift=1.0)])
    before = process.threshold()
    process.push(windows(range(400, 402), {"site": "site@1"}))
    assert process.threshold() == pytest.approx(before, abs=0.3)
    process.push(windows(range(402, 404), {"site": "site@2"}))
    assert process.threshold() == pytest.approx(before + 1.0, abs=0.3)
    after = process.threshold()
    process.push(windows(range(404, 406), {"site": "site@2"}))
    assert process.threshold() == pytest.approx(after, abs=0.3)  # once


def test_what_was_adopted_survives_a_crash_before_the_switch(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    process.push(windows(range(400), {"site": "site@1"}))
    process.core.adopt([adoption(shift=1.0)])
    before = process.threshold()
    process.start(LEARNED)  # killed: nothing was saved after the adoption
    told: list[Judgement] = []
    process.core._on_judgement = told.append
    process.push(windows(range(400, 402), {"site": "site@2"}))
    assert [item.model for item in told[0].score.evidence] == ["site@2"]
    assert process.threshold() == pytest.approx(before + 1.0, abs=0.3)


def test_a_first_version_waits_until_the_shard_measures_its_channel(tmp_path: Path) -> None:
    process = Process(tmp_path, LOOKS)
    process.push(windows(range(100), {"appearance": "appearance@1"}))
    assert process.core.adopt([adoption()]) == {"cam": 0}
    process.start(LOOKS)  # killed once more on the way
    process.core.snapshot_some(all_feeds=True)
    process.start(LOOKS, LEARNED)
    told: list[Judgement] = []
    process.core._on_judgement = told.append
    process.push(windows(range(100, 102), {"appearance": "appearance@1", "site": "site@2"}))
    assert "site@2" in {item.model for item in told[0].score.evidence}


def test_a_swap_that_never_came_leaves_everything_as_it_was(tmp_path: Path) -> None:
    adopting, plain = Process(tmp_path / "a", LEARNED), Process(tmp_path / "b", LEARNED)
    for process in (adopting, plain):
        process.push(windows(range(200), {"site": "site@1"}))
    adopting.core.adopt([adoption(shift=1.0)])
    scores: dict[str, list[float]] = {"a": [], "b": []}
    for name, process in (("a", adopting), ("b", plain)):
        process.core._on_judgement = lambda judged, name=name: scores[name].append(judged.score.surprise)
        process.push(windows(range(200, 400), {"site": "site@1"}))
    assert scores["a"] == scores["b"]
    assert adopting.threshold() == plain.threshold()


def test_an_alert_names_the_version_that_judged_it_on_both_sides_of_a_swap(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    process.push(windows(range(300), {"site": "site@1"}))
    process.push(windows(range(300, 308), {"site": "site@1"}, shift=25.0))
    process.push(windows(range(308, 340), {"site": "site@1"}))
    process.core.adopt([adoption()])
    process.push(windows(range(340, 380), {"site": "site@2"}))
    process.push(windows(range(380, 388), {"site": "site@2"}, shift=25.0))
    process.push(windows(range(388, 420), {"site": "site@2"}))
    alerts = process.store.alerts(AlertQuery(limit=100)).alerts
    versions = {round(alert.peak_s): (alert.models, alert.versions) for alert in alerts if alert.surprise > 2.0}
    assert all(
        (models, used) == ((f"site@{1 + (at_s >= 340)}",), {"site": f"site@{1 + (at_s >= 340)}"})
        for at_s, (models, used) in versions.items()
    )
    assert any(300 <= at_s < 310 for at_s in versions)
    assert any(380 <= at_s < 390 for at_s in versions)


def test_an_alert_names_the_trained_rule_that_joined_its_evidence(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    process.core._analyzers["cam"].follow_fusion(MonotoneRule(version="7"))
    process.push(windows(range(300), {"site": "site@1"}))
    process.push(windows(range(300, 308), {"site": "site@1"}, shift=25.0))
    (newest, *_) = process.store.alerts(AlertQuery(limit=1)).alerts
    assert newest.versions == {"site": "site@1", "fusion": "fusion@7"}
    assert Alert.from_json(newest.to_json()) == newest


def test_only_the_newest_swap_counts(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    process.push(windows(range(400), {"site": "site@1"}))
    process.core.adopt([adoption(version="2", shift=1.0)])
    process.core.adopt([adoption(version="3")])
    before = process.threshold()
    process.push(windows(range(400, 402), {"site": "site@2"}))
    assert process.threshold() == pytest.approx(before, abs=0.3)


def test_feeds_that_run_elsewhere_are_left_out(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    assert process.core.adopt([adoption(feed_id="other")]) == {}


def test_a_switch_is_kept_exactly() -> None:
    memory = Memory({"appearance": LOOKS})
    switch, again = Switch(), Switch()
    switch.expect(adoption(shift=0.5), memory)
    again.load(*switch.state())
    placed = Memory({"site": LEARNED})
    again.place(placed)
    assert placed.state()[0]["keys"] == [("site", "site@2", DIM, "")]
    noted = again.note([make_embedding(0.0, channel="site", vector=[0.0] * DIM, model="site@2")])
    assert noted is not None
    assert noted(np.array([1.0])) == pytest.approx([1.5])


# --- verdicts on what the model before has raised ----------------------------------------------------------


def raised_by_the_first(process: Process) -> Alert:
    """An alert of version 1, over and done."""
    process.push(windows(range(300), {"site": "site@1"}))
    process.push(windows(range(300, 308), {"site": "site@1"}, shift=25.0))
    process.push(windows(range(308, 330), {"site": "site@1"}))
    [alert] = [a for a in process.store.alerts(AlertQuery()).alerts if 299 <= a.start_s <= 308]
    assert alert.state == "closed"
    return alert


def listen(process: Process) -> None:
    while True:
        verdicts = verdicts_after(process.store, process.core.heard_until())
        process.core.hear(verdicts)
        if verdicts.is_last:
            return


def shown_to_the_second(process: Process) -> float:
    """How unusual version 2 finds the thing when it comes again."""
    told: list[Judgement] = []
    process.core._on_judgement = told.append
    process.push(windows(range(400, 402), {"site": "site@2"}))
    process.push(windows(range(402, 408), {"site": "site@2"}, shift=-25.0))
    return max(judged.score.surprise for judged in told)


def say(process: Process, alert: Alert, verdict: Verdict | None) -> None:
    process.store.update_alert(alert.alert_id, {"verdict": verdict})
    listen(process)


WHEN = ("never", "before the footage", "while it is encoded", "after the swap", "after a crash", "at first otherwise")


@pytest.mark.parametrize("when", WHEN)
def test_a_verdict_on_an_alert_of_the_model_before_teaches_the_new_one(when: str, tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    listen(process)
    alert = raised_by_the_first(process)
    if when in ("before the footage", "while it is encoded"):
        say(process, alert, "false_alarm")
    if when == "at first otherwise":
        say(process, alert, "true")
    told: dict[str, Verdict] = {"before the footage": "false_alarm", "at first otherwise": "true"}
    assert process.core.adopt([seen_with(alert, told.get(when))]) == {"cam": 1}
    if when == "after a crash":
        process.start(LEARNED)
    if when in ("after the swap", "after a crash", "at first otherwise"):
        say(process, alert, "false_alarm")
    surprise = shown_to_the_second(process)
    assert surprise > 3.0 if when == "never" else surprise < 2.0, surprise
    process.store.close()


def test_a_verdict_that_is_taken_back_after_a_swap_is_taken_back_from_the_new_model_too(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    listen(process)
    alert = raised_by_the_first(process)
    say(process, alert, "false_alarm")
    process.core.adopt([seen_with(alert, "false_alarm")])
    say(process, alert, None)
    assert shown_to_the_second(process) > 3.0
    process.store.close()


def test_an_alert_brought_along_by_a_first_version_waits_with_it_for_its_channel(tmp_path: Path) -> None:
    process = Process(tmp_path, LOOKS)
    listen(process)
    process.push(windows(range(300), {"appearance": "appearance@1"}))
    process.push(windows(range(300, 308), {"appearance": "appearance@1"}, shift=25.0))
    process.push(windows(range(308, 330), {"appearance": "appearance@1"}))
    [alert] = [a for a in process.store.alerts(AlertQuery()).alerts if 299 <= a.start_s <= 308]
    assert process.core.adopt([seen_with(alert)]) == {"cam": 0}
    process.start(LOOKS)  # killed on the way
    process.core.snapshot_some(all_feeds=True)
    process.start(LOOKS, LEARNED)
    say(process, alert, "false_alarm")
    assert shown_to_the_second(process) < 2.0
    process.store.close()


def test_the_same_adoption_twice_teaches_once(tmp_path: Path) -> None:
    process = Process(tmp_path, LEARNED)
    listen(process)
    alert = raised_by_the_first(process)
    for _ in range(2):
        process.core.adopt([seen_with(alert)])
    case = process.core._analyzers["cam"]._memory._quarantine.case(alert.alert_id)
    assert case is not None
    of_both = [lesson.parts[0][0][1] for lesson in case.lessons]
    assert of_both.count("site@2") == 4
    process.store.close()
