from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.analysis import FeedAnalyzer, Judgement
from mmstream.config import BudgetSection, ClipSection, FusionSection
from mmstream.errors import ConfigError
from mmstream.types import Alert, Channel, Embedding, EncodedWindow, Reading

CHANNELS = {
    "motion": Channel(name="motion", modality="picture", normality="value"),
    "appearance": Channel(name="appearance", modality="picture"),
    "sound": Channel(name="sound", modality="sound"),
}
DIMS = {"motion": 4, "appearance": 16, "sound": 24}
START_S = 1_700_000_000.0


def make_analyzer(**changes: object) -> FeedAnalyzer:
    options = {
        "channels": CHANNELS,
        "budget": BudgetSection(warmup_s=600.0),
        "max_wait_s": 3.0,
        "clips": ClipSection(),
    } | changes
    return FeedAnalyzer("gate-3", **options)  # type: ignore[arg-type]


@dataclass
class Camera:
    """Two-second windows every second of correlated noise; ``shift`` moves one channel away."""

    seed: int = 0
    model: str = "1"
    random: np.random.Generator = field(init=False)
    slow: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.slow = {name: self.random.normal(size=dim) for name, dim in DIMS.items()}

    def window(self, second: int, *, history: bool = False, **shift: float) -> EncodedWindow:
        start_s = START_S + second
        embeddings = []
        for name, dim in DIMS.items():
            self.slow[name] = 0.8 * self.slow[name] + 0.6 * self.random.normal(size=dim)
            vector = self.slow[name] + shift.get(name, 0.0)
            if name == "motion":
                vector = np.abs(vector)
            embedding = Embedding(
                feed_id="gate-3",
                start_s=start_s,
                end_s=start_s + 2,
                channel=name,
                vector=vector.astype(np.float32),
                model=f"{name}@{self.model}",
            )
            embeddings.append(embedding)
        return EncodedWindow(
            feed_id="gate-3", start_s=start_s, end_s=start_s + 2, embeddings=tuple(embeddings), history=history
        )


def push_all(analyzer: FeedAnalyzer, windows: list[EncodedWindow]) -> list[Judgement]:
    return [judgement for window in windows for judgement in analyzer.push(window)]


def told(judgements: list[Judgement]) -> list[Alert]:
    return [alert for judgement in judgements for alert in judgement.alerts]


@pytest.fixture(scope="module")
def learned() -> bytes:
    """What 20 minutes of ordinary history taught."""
    camera, analyzer = Camera(), make_analyzer()
    judgements = push_all(analyzer, [camera.window(second, history=True) for second in range(1200)])
    assert told(judgements) == []
    return analyzer.snapshot()


def make_taught(learned: bytes, **changes: object) -> FeedAnalyzer:
    analyzer = make_analyzer(**changes)
    assert analyzer.restore(learned, None)
    return analyzer


@pytest.mark.parametrize(
    ("channel", "modality"), [("sound", "sound"), ("appearance", "picture"), ("motion", "picture")]
)
def test_six_seconds_of_something_else_in_one_modality_are_one_alert_about_it(learned, channel, modality):
    camera, analyzer = Camera(seed=1), make_taught(learned)
    windows = [
        camera.window(second, **({channel: 12.0} if 1260 <= second < 1266 else {})) for second in range(1200, 1400)
    ]
    alerts = told(push_all(analyzer, windows))
    assert len({alert.alert_id for alert in alerts}) == 1
    assert [alerts[0].state, alerts[-1].state] == ["open", "closed"]
    assert alerts[-1].shares[modality] >= 0.6
    assert alerts[-1].start_s == pytest.approx(START_S + 1260, abs=2.0)
    assert alerts[-1].provisional
    assert analyzer.summary()["alerts_today"] == 1


def test_two_hours_of_quiet_stay_within_the_budget():
    camera, analyzer = Camera(seed=2), make_analyzer()
    judgements = push_all(analyzer, [camera.window(second) for second in range(2 * 3600)])
    opened = {alert.alert_id for alert in told(judgements)}
    assert len(opened) <= 2
    assert judgements[0].phase == "warmup"
    assert judgements[-1].phase == "provisional"
    assert analyzer.summary()["blocks"] >= 20


def test_nothing_is_told_while_warming_up(learned):
    camera, analyzer = Camera(seed=3), make_analyzer(budget=BudgetSection(warmup_s=3600.0))
    analyzer.restore(learned, None)
    windows = [camera.window(second, sound=20.0) for second in range(1200, 1220)]
    judgements = push_all(analyzer, windows)
    assert told(judgements) == []
    assert max(judgement.score.surprise for judgement in judgements) > 4


def test_history_never_alerts_and_is_not_learned_again_once_live(learned):
    camera, analyzer = Camera(seed=4), make_taught(learned)
    strange = [camera.window(second, history=True, sound=20.0) for second in range(1200, 1210)]
    assert told(push_all(analyzer, strange)) == []
    assert not analyzer.has_been_live
    push_all(analyzer, [camera.window(1300)])
    assert analyzer.has_been_live
    assert push_all(analyzer, [camera.window(1400, history=True)]) == []
    assert analyzer.num_repeated == 1


def test_a_late_replica_embedding_joins_its_window(learned):
    channels = CHANNELS | {"vision": Channel(name="vision", modality="picture")}
    camera, analyzer = Camera(seed=5), make_taught(learned, channels=channels)
    window = camera.window(1300)
    waiting = EncodedWindow(
        feed_id="gate-3",
        start_s=window.start_s,
        end_s=window.end_s,
        embeddings=window.embeddings,
        pending=frozenset({"vision"}),
    )
    assert analyzer.push(waiting) == []
    vision = Embedding(
        feed_id="gate-3",
        start_s=window.start_s,
        end_s=window.end_s,
        channel="vision",
        vector=np.ones(8, np.float32),
        model="vision@1",
    )
    [judgement] = analyzer.push(vision)
    assert {item.channel for item in judgement.score.evidence} == {"motion", "appearance", "sound"}
    assert "vision" in analyzer.summary()["bank_rows"]


def test_another_model_starts_without_evidence_and_then_has_its_own(learned):
    camera, analyzer = Camera(seed=6, model="2"), make_taught(learned)
    judgements = push_all(analyzer, [camera.window(second) for second in range(1200, 1320)])
    assert judgements[0].score.evidence == ()
    assert judgements[20].score.shares == {}
    assert {item.model for item in judgements[-1].score.evidence} == {"motion@2", "appearance@2", "sound@2"}
    assert told(judgements) == []


def test_an_unknown_channel_is_left_out_and_counted(learned):
    camera, analyzer = Camera(seed=7), make_taught(learned, channels={"sound": CHANNELS["sound"]})
    [judgement] = push_all(analyzer, [camera.window(1300)])
    assert [item.channel for item in judgement.score.evidence] == ["sound"]
    assert analyzer.summary()["num_unknown_channel"] == 2


def test_what_is_sent_twice_changes_nothing(learned):
    camera, once, twice = Camera(seed=8), make_taught(learned), make_taught(learned)
    windows = [camera.window(second, **({"sound": 12.0} if second > 1230 else {})) for second in range(1200, 1260)]
    first = push_all(once, windows)
    second = [judgement for window in windows for judgement in push_all(twice, [window, window, windows[0]])]
    assert second == first
    assert twice.num_repeated == 2 * len(windows)


def test_clips_are_asked_for_until_they_are_answered(learned):
    camera, analyzer = Camera(seed=9), make_taught(learned)
    push_all(analyzer, [camera.window(second) for second in range(1200, 1260)])
    push_all(analyzer, [camera.window(second, sound=12.0) for second in range(1260, 1266)])
    [first] = analyzer.evidence_wanted()
    assert (first.final, first.spectrogram) == (False, True)
    assert first.start_s == pytest.approx(START_S + 1260 - 10, abs=2.0)
    analyzer.evidence_done(first.alert_id, final=False)
    assert analyzer.evidence_wanted() == []
    [*_, closing] = told(push_all(analyzer, [camera.window(second) for second in range(1266, 1300)]))
    [final] = analyzer.evidence_wanted()
    assert (final.final, final.end_s) == (True, closing.end_s + 5.0)
    analyzer.evidence_done(final.alert_id, final=True)
    assert analyzer.evidence_wanted() == []


def test_the_end_of_the_feed_closes_what_is_open(learned):
    camera, analyzer = Camera(seed=10), make_taught(learned)
    push_all(analyzer, [camera.window(second, sound=12.0) for second in range(1200, 1206)])
    [closed] = told(analyzer.flush())
    assert closed.state == "closed"
    assert analyzer.flush() == []


def test_the_tracker_state_is_small_json_however_much_was_said(learned):
    camera, analyzer = Camera(seed=11), make_taught(learned)
    for second in range(1200, 1206):
        window = camera.window(second, sound=12.0)
        talking = [
            Embedding(
                feed_id="gate-3",
                start_s=item.start_s,
                end_s=item.end_s,
                channel=item.channel,
                vector=item.vector,
                model=item.model,
                text="пожар " * 200,
            )
            for item in window.embeddings
        ]
        analyzer.push(
            EncodedWindow(feed_id="gate-3", start_s=window.start_s, end_s=window.end_s, embeddings=tuple(talking))
        )
    assert analyzer.summary()["open_alert"] is not None
    assert len(json.dumps(analyzer.tracker_state())) < 4096


def final_states(alerts: list[Alert]) -> dict[str, Alert]:
    return {alert.alert_id: alert for alert in alerts}


class Recording:
    """Ten minutes with two events, and the alerts of the run that nothing interrupted."""

    # no dataclass: Hypothesis prints every field of one
    def __init__(self, taught: bytes, windows: list[EncodedWindow], whole: dict[str, Alert]) -> None:
        self.taught, self.windows, self.whole = taught, windows, whole


@pytest.fixture(scope="module")
def recording(learned):
    camera = Camera(seed=12)
    windows = []
    for second in range(1200, 1800, 2):
        shift = {"sound": 15.0} if 1300 <= second < 1320 else {"appearance": 15.0} if 1690 <= second < 1702 else {}
        windows.append(camera.window(second, **shift))
    analyzer = make_taught(learned)
    whole = final_states(told(push_all(analyzer, windows)) + told(analyzer.flush()))
    assert len(whole) == 2
    return Recording(learned, windows, whole)


@settings(max_examples=25, deadline=None)
@given(kill_at=st.integers(1, 300), snapshot_at=st.integers(1, 300), resend=st.integers(0, 40))
def test_a_crash_at_any_moment_loses_no_alert_and_doubles_none(recording, kill_at, snapshot_at, resend):
    """Killed after ``kill_at`` windows, with a snapshot taken there or before, the tracker committed
    with every alert, and everything after what is known sent again, together with ``resend`` known windows."""
    snapshot_at = min(snapshot_at, kill_at)
    analyzer, tracker, snapshot = make_taught(recording.taught), None, b""
    committed: list[Alert] = []
    for number, window in enumerate(recording.windows[:kill_at], start=1):
        alerts = told(analyzer.push(window))
        committed += alerts
        if alerts:
            tracker = json.loads(json.dumps(analyzer.tracker_state()))
        if number == snapshot_at:
            snapshot = analyzer.snapshot()
    again = make_analyzer()
    assert again.restore(snapshot, tracker)
    judged_s = again.tracker_state()["judged_s"]
    known = sum(window.end_s <= judged_s for window in recording.windows)
    rest = recording.windows[max(0, known - resend) :]
    committed += told(push_all(again, rest)) + told(again.flush())
    # an older snapshot has learned less, so the threshold may be crossed a window earlier or later
    starts = sorted(alert.start_s for alert in final_states(committed).values())
    assert starts == pytest.approx(sorted(alert.start_s for alert in recording.whole.values()), rel=0, abs=4.0)
    assert {alert.state for alert in final_states(committed).values()} == {"closed"}
    if snapshot_at == kill_at:
        assert final_states(committed) == recording.whole


def test_a_restored_analyzer_goes_on_exactly_like_the_first(learned):
    camera, first = Camera(seed=13), make_taught(learned)
    push_all(first, [camera.window(second, sound=12.0 * (second > 1310)) for second in range(1200, 1314)])
    second = make_analyzer()
    assert second.restore(first.snapshot(), None)
    assert second.tracker_state() == first.tracker_state()
    rest = [camera.window(number) for number in range(1314, 1500)]
    assert push_all(second, rest) == push_all(first, rest)


def test_a_snapshot_that_cannot_be_read_is_refused_and_the_tracker_still_holds(learned):
    camera, analyzer = Camera(seed=14), make_taught(learned)
    push_all(analyzer, [camera.window(second, sound=12.0) for second in range(1200, 1206)])
    tracker = analyzer.tracker_state()
    for damaged in (b"", b"nonsense", learned[:-200], learned[: len(learned) // 2]):
        again = make_analyzer()
        assert not again.restore(damaged, tracker)
        assert again.summary()["windows_learned"] == 0
        assert again.tracker_state() == tracker
        [closed] = told(again.flush())
        assert closed.state == "closed"


def test_another_version_is_refused(learned, monkeypatch):
    monkeypatch.setattr("mmstream.analysis.SNAPSHOT_VERSION", 99)
    analyzer = make_analyzer()
    assert not analyzer.restore(learned, None)
    assert analyzer.summary()["windows_learned"] == 0


def test_the_newer_alert_state_wins(learned):
    camera, analyzer = Camera(seed=15), make_taught(learned)
    push_all(analyzer, [camera.window(second) for second in range(1200, 1210)])
    older = analyzer.tracker_state()
    push_all(analyzer, [camera.window(second) for second in range(1210, 1220)])
    snapshot, newer = analyzer.snapshot(), analyzer.tracker_state()
    again = make_analyzer()
    again.restore(snapshot, older)
    assert again.tracker_state() == newer
    again = make_analyzer()
    again.restore(learned, newer)
    assert again.tracker_state() == newer


def test_the_summary_is_json(learned):
    assert json.loads(json.dumps(make_analyzer().summary()))["phase"] == "warmup"
    summary = json.loads(json.dumps(make_taught(learned).summary()))
    assert summary["phase"] == "provisional"
    assert summary["threshold_expected_every_s"] == pytest.approx(43_200, rel=0.01)


def said(alert: Alert, verdict: str | None) -> Alert:
    return dataclasses.replace(alert, verdict=verdict)


def peak(judgements: list[Judgement], from_s: float) -> float:
    """The highest surprise of the six seconds from there on."""
    return max(judgement.score.surprise for judgement in judgements if from_s <= judgement.start_s < from_s + 6)


def happening(camera: Camera, first: int, last: int, event: int) -> list[EncodedWindow]:
    return [camera.window(second, sound=12.0 * (event <= second < event + 6)) for second in range(first, last)]


def test_the_same_event_is_no_longer_rare_after_false_alarm_and_is_without(learned):
    peaks = {}
    for verdict in ("false_alarm", "unsure"):
        camera, analyzer = Camera(seed=20), make_taught(learned)
        [*_, closed] = told(push_all(analyzer, happening(camera, 1200, 1300, 1260)))
        analyzer.verdict(said(closed, verdict))
        analyzer.verdict(said(closed, verdict))
        again = push_all(analyzer, happening(camera, 1900, 2000, 1960))
        peaks[verdict] = peak(again, START_S + 1960)
    assert peaks["unsure"] > 4.0
    assert peaks["false_alarm"] < 3.0


@pytest.mark.parametrize("then", [None, "unsure"])
def test_a_verdict_that_is_taken_back_is_as_if_it_had_never_been(learned, then):
    peaks = []
    for verdicts in [("false_alarm", then), ("true", then), ()]:
        camera, analyzer = Camera(seed=20), make_taught(learned)
        [*_, closed] = told(push_all(analyzer, happening(camera, 1200, 1300, 1260)))
        assert [analyzer.verdict(said(closed, verdict)) for verdict in verdicts] == [True] * len(verdicts)
        peaks.append(peak(push_all(analyzer, happening(camera, 1900, 2000, 1960)), START_S + 1960))
    assert peaks[0] == pytest.approx(peaks[2], abs=0.3)
    assert peaks[1] == pytest.approx(peaks[2], abs=0.3)
    assert peaks[0] > 4.0


def test_a_verdict_given_while_the_alert_is_open_holds_when_it_closes(learned):
    camera, analyzer = Camera(seed=21), make_taught(learned)
    windows = happening(camera, 1200, 1300, 1260)
    early = push_all(analyzer, windows[:66])
    [opened, *_] = told(early)
    analyzer.verdict(said(opened, "false_alarm"))
    push_all(analyzer, windows[66:])
    assert peak(push_all(analyzer, happening(camera, 1900, 2000, 1960)), START_S + 1960) < 3.0


def test_verdicts_survive_a_snapshot(learned):
    camera, first = Camera(seed=22), make_taught(learned)
    [*_, closed] = told(push_all(first, happening(camera, 1200, 1300, 1260)))
    second = make_analyzer()
    assert second.restore(first.snapshot(), None)
    for analyzer in (first, second):
        analyzer.verdict(said(closed, "true"))
    third = make_analyzer()
    assert third.restore(second.snapshot(), None)
    again = happening(camera, 1900, 2000, 1960)
    assert push_all(third, again) == push_all(first, again)


def plant(readings: list[float], *, every_s: float) -> tuple[FeedAnalyzer, list[Alert]]:
    """A feed of one sensor that says something every ``every_s``, and nothing else."""
    analyzer = make_analyzer(budget=BudgetSection(warmup_s=600.0, alerts_per_camera_per_day=24.0))
    judgements = []
    for number, value in enumerate(readings):
        at_s = START_S + number * every_s
        reading = Reading(feed_id="gate-3", start_s=at_s, end_s=at_s, sensor="oil", value=value)
        for start_s in (at_s - 1.0, at_s):
            new = (reading,) if start_s < at_s else ()
            window = EncodedWindow(feed_id="gate-3", start_s=start_s, end_s=start_s + 2.0, embeddings=(), readings=new)
            judgements += analyzer.push(window)
    return analyzer, told(judgements)


def test_a_feed_of_one_slow_sensor_is_calibrated_and_raises_an_alert_that_names_it() -> None:
    random = np.random.default_rng(3)
    ordinary = (20.0 + random.normal(0.0, 1.0, 1500)).tolist()
    analyzer, alerts = plant([*ordinary, 90.0, 91.0, *ordinary[:50]], every_s=300.0)
    assert analyzer.summary()["phase"] == "calibrated"
    raised = [alert for alert in alerts if alert.severity != "notice" and "sensor:oil" in alert.channels]
    assert any(abs(alert.start_s - (START_S + 1500 * 300.0)) <= 300.0 for alert in raised)
    assert raised[-1].shares == {"sensor": 1.0}
    assert "oil" in raised[-1].sentence


@pytest.mark.parametrize("rule", ["mean", "fisher", "max", "linear"])
def test_another_rule_of_fusion_can_be_chosen_and_an_unknown_one_is_refused(rule: str) -> None:
    analyzer = make_analyzer(fusion=FusionSection(rule=rule, weights={"sound": 0.1}))
    judgements = push_all(analyzer, [Camera().window(second) for second in range(100)])
    assert judgements[-1].score.shares
    with pytest.raises(ConfigError, match="there is no 'median'"):
        make_analyzer(fusion=FusionSection(rule="median"))


@dataclass
class Corner(Camera):
    """Things of two kinds pass; what moves and what is heard belong together, unless ``heard`` says otherwise."""

    kind: int = 0
    left_s: int = 0

    def passing(self, second: int, *, heard: int | None = None, linked: bool = True) -> EncodedWindow:
        self.left_s -= 1
        if self.left_s <= 0:
            self.kind = int(self.random.integers(0, 3))
            self.left_s = int(self.random.integers(3, 9))
        if heard is None:
            heard = self.kind if linked else int(second // 6 * 7919 % 3)
        else:
            self.kind = (heard + 1) % 3
        looks, sounds = np.eye(3, DIMS["motion"]) * 6.0, np.eye(3, DIMS["sound"]) * 6.0
        window = self.window(second)
        shown = {"motion": looks[self.kind], "sound": sounds[heard]}
        embeddings = tuple(
            dataclasses.replace(e, vector=(e.vector + shown.get(e.channel, 0.0)).astype(np.float32))
            for e in window.embeddings
        )
        return dataclasses.replace(window, embeddings=embeddings)


def test_a_picture_with_the_sound_of_another_thing_is_an_alert_about_just_that():
    corner, analyzer = Corner(seed=20), make_analyzer()
    push_all(analyzer, [corner.passing(second) for second in range(3600)])
    assert analyzer.summary()["agreement"]["picture-sound"]["used"]
    again = make_taught(analyzer.snapshot())
    assert again.summary()["agreement"] == analyzer.summary()["agreement"]
    wrong = [corner.passing(second, heard=1 if 3700 <= second < 3712 else None) for second in range(3600, 3800)]
    alerts = told(push_all(again, wrong))
    opened = next(alert for alert in alerts if alert.start_s >= START_S + 3699)
    assert max(opened.shares, key=lambda modality: opened.shares[modality]) == "agreement"
    assert "mismatch of picture and sound" in opened.sentence
    assert "画面与声音不符" in opened.sentences["zh"]


def test_where_the_microphone_hears_something_else_nothing_changes_at_all(monkeypatch):
    corner = Corner(seed=21)
    windows = [corner.passing(second, linked=False) for second in range(3600)]
    analyzer = make_analyzer()
    judged = push_all(analyzer, windows)
    assert not any(pair["used"] for pair in analyzer.summary()["agreement"].values())
    monkeypatch.setattr("mmstream.fusion.agreement.Agreement.weigh", lambda *_: ())
    without = push_all(make_analyzer(), windows)
    assert [judgement.score for judgement in judged] == [judgement.score for judgement in without]


def test_a_snapshot_from_before_agreement_was_learned_is_taken(learned):
    with np.load(io.BytesIO(learned)) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(arrays["meta"].tobytes())
    del meta["agreement"]
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    old = io.BytesIO()
    np.savez(old, **arrays)
    assert make_analyzer().restore(old.getvalue(), None)
