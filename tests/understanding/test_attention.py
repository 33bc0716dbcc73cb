"""What fusion asks the shard to have looked at, and what it does with the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.config import BudgetSection, SiteConfig, UnderstandingSection
from mmstream.fusing import MAX_ATTENTION, FusionCore, most_unusual
from mmstream.shard import FuseBatch, FuseReply
from mmstream.storage.base import Commit
from mmstream.storage.sqlite import SqliteStore
from mmstream.types import Alert, EncodedWindow, TextSpan
from mmstream.understanding.ondemand import Attention
from tests.test_fusing import CHANNELS, EVENT, HISTORY_S, windows
from tests.test_shard import DictMedia

BUDGET = BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60)


def make_core(**understanding: str) -> FusionCore:
    site = SiteConfig(budget=BUDGET, understanding=UnderstandingSection.model_validate(understanding))
    core = FusionCore(site, channels=CHANNELS, media=DictMedia(), tracker_of=lambda _: None, now=lambda: 1000.0)
    core.begin("cam")
    return core


def push(core: FusionCore, made: list[EncodedWindow]) -> tuple[list[FuseReply], list[Commit]]:
    replies, commits = [], []
    for window in made:
        reply, decided = core.push(FuseBatch(items=[window]))
        replies.append(reply)
        commits += decided
    return replies, commits


@pytest.fixture(scope="module")
def made() -> list[EncodedWindow]:
    return windows(seed=3)


def late(text: str, at_s: float) -> TextSpan:
    return TextSpan(feed_id="cam", start_s=at_s, end_s=at_s + 2, text=text, origin="transcript", model="w@1")


def test_windows_of_an_episode_are_told_to_the_shard_and_those_of_history_never(made: list[EncodedWindow]) -> None:
    replies, _ = push(make_core(speech="whisper"), made)
    told = [window for reply in replies for window in reply.attention]
    assert {float(second) for second in EVENT} <= {window.start_s for window in told}
    assert min(window.start_s for window in told) >= HISTORY_S
    assert all(window.surprise > 0 for window in told if window.start_s in EVENT)


def test_a_site_without_such_models_is_told_nothing(made: list[EncodedWindow]) -> None:
    replies, _ = push(make_core(), made)
    assert not any(reply.attention or reply.questions for reply in replies)


def test_late_words_are_committed_with_the_alert_and_again_change_nothing(made: list[EncodedWindow]) -> None:
    core = make_core(speech="whisper")
    push(core, made[: EVENT[-1]])
    batch = FuseBatch(items=(), words=[late("help, over here", EVENT[2]), late("good morning", 20.0)])
    [commit] = core.push(batch)[1]
    assert [alert.text for alert in commit.alerts] == ["help, over here"]
    assert commit.tracker is not None
    assert [alert for commit in core.push(batch)[1] for alert in commit.alerts] == []


def test_an_alert_is_narrated_in_the_reply_in_which_it_opens(made: list[EncodedWindow]) -> None:
    replies, commits = push(make_core(narration="vlm"), made)
    opened = next(alert for commit in commits for alert in commit.alerts if alert.severity != "notice")
    questions = [question for reply in replies for question in reply.questions]
    assert questions[0].question_id == f"{opened.alert_id}/open"
    assert questions[0].role == "narration"


def test_a_narration_outlives_the_close_of_its_alert(tmp_path: Path, made: list[EncodedWindow]) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    _, commits = push(make_core(narration="vlm"), made)
    told: list[Alert] = []
    for commit in commits:
        store.commit(commit)
        for alert in commit.alerts:
            if not told and alert.severity != "notice":
                store.update_alert(alert.alert_id, {"narration": "A man fell.", "narrated_by": "tiny@1"})
            told.append(alert)
    kept = store.alert(next(alert.alert_id for alert in told if alert.severity != "notice"))
    store.close()
    assert kept is not None
    assert (kept.state, kept.narration, kept.narrated_by) == ("closed", "A man fell.", "tiny@1")


def test_of_too_many_unusual_windows_the_most_unusual_are_told_in_order() -> None:
    found = [
        Attention(feed_id="cam", start_s=float(number), end_s=number + 2.0, surprise=(number * 37 % 500) / 10)
        for number in range(500)
    ]
    kept = most_unusual(found)
    assert len(kept) == MAX_ATTENTION
    assert [window.start_s for window in kept] == sorted(window.start_s for window in kept)
    assert min(window.surprise for window in kept) >= max(window.surprise for window in found if window not in kept)
