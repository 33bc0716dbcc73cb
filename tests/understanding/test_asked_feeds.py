"""A shard's questions: bounded whatever the models do, answered once, and words that go both ways."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from mmstream.buffers import Mailbox
from mmstream.config import FeedConfig, UnderstandingSection
from mmstream.evidence import PacketRing
from mmstream.sources.media import MediaSource
from mmstream.stages import Question
from mmstream.types import Float32, Packet, TextSpan
from mmstream.understanding.asker import IN_FLIGHT
from mmstream.understanding.ondemand import Attention, PictureQuestion
from mmstream.understanding.pacing import Pacing
from mmstream.understanding.questions import Understanding
from mmstream.understanding.speaking import LocalSpeaker, Said
from tests.rtsp.clips import make_clip
from tests.speakers import DESCRIBER, MISSING, SPEECH

SECONDS = 30.0


class Feed:
    """What `Understanding` needs of a feed, filled from a clip."""

    def __init__(self, path: Path, *, pacing: Pacing | None = None) -> None:
        self.ring = PacketRing(max_bytes=2**24, max_s=180.0)
        self.spoken: Mailbox[tuple[float, float]] = Mailbox(64)
        self.pacing = pacing
        for item in MediaSource(FeedConfig(id="cam", url=str(path))):
            if isinstance(item, Packet):
                self.ring.push(item)

    @property
    def heard_until_s(self) -> float:
        return self.ring.newest_s


class SlowSpeaker:
    """Answers when it is told to, all or one at a time; counts how many ask it at once."""

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self.counters: Counter[str] = Counter()
        self.trouble = ""
        self.may_answer = asyncio.Event()
        self.asked: list[Float32 | Question] = []
        self.at_once = self.most_at_once = 0
        self.one_at_a_time = one_at_a_time

    async def ask(self, request: Float32 | Question) -> Said | None:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        while not self.may_answer.is_set():  # another one may have been woken with this, and have taken it
            await self.may_answer.wait()
        if self.one_at_a_time:
            self.may_answer.clear()
        self.at_once -= 1
        return Said(text=f"answer {len(self.asked)}", model="slow@1")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=SECONDS)


@pytest.fixture
def feed(clip: Path) -> Feed:
    return Feed(clip)


def unusual(at_s: float, surprise: float = 3.0, feed_id: str = "cam") -> Attention:
    return Attention(feed_id=feed_id, start_s=at_s, end_s=at_s + 2.0, surprise=surprise)


def question(number: int = 1, **changes: object) -> PictureQuestion:
    values = {"feed_id": "cam", "role": "captions", "prompt": "Is there smoke?", "at_s": (5.0,)} | changes
    return PictureQuestion(question_id=f"rule/{number}", **values)  # type: ignore[arg-type]


async def settled(understanding: Understanding, ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ready():
            understanding.turn()
            await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_two_are_asked_at_a_time_and_no_more_wait_than_there_is_room(feed: Feed) -> None:
    async def test() -> None:
        speaker, clock = SlowSpeaker(), Clock()
        section = UnderstandingSection(captions="slow", max_waiting=4)
        understanding = Understanding(section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=clock)
        understanding.ask([question(number) for number in range(20)])
        assert understanding.status()["slow"]["waiting"] == 4
        await settled(understanding, lambda: len(speaker.asked) == IN_FLIGHT)
        assert len(understanding.take()[1]) == 16
        speaker.may_answer.set()
        await settled(understanding, lambda: understanding.status()["slow"].get("answered", 0) == 4)
        answers = understanding.take()[1]
        assert sorted(answer.question_id for answer in answers) == sorted({answer.question_id for answer in answers})
        assert all(answer.text for answer in answers)
        assert (speaker.most_at_once, understanding.status()["slow"]["dropped_full"]) == (IN_FLIGHT, 16)
        await settled(understanding, lambda: understanding.idle)

    run(test)


def test_a_live_moment_is_given_up_and_a_question_answered_with_nothing_when_the_model_is_too_slow(feed: Feed) -> None:
    async def test() -> None:
        speaker, clock = SlowSpeaker(), Clock()
        section = UnderstandingSection(captions="slow")
        understanding = Understanding(section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=clock)
        understanding.ask([question(1), question(2), question(3, within_s=5.0)])
        await settled(understanding, lambda: len(speaker.asked) == IN_FLIGHT)
        clock.now_s += 5.0
        understanding.turn()
        [answer] = understanding.take()[1]
        assert (answer.question_id, answer.text) == ("rule/3", "")
        assert understanding.status()["slow"]["dropped_old"] == 1
        understanding.stop()
        await settled(understanding, lambda: bool(understanding.take()) and understanding.idle)

    run(test)


def test_a_question_without_a_model_a_feed_or_a_picture_is_answered_with_nothing_at_once(feed: Feed) -> None:
    async def test() -> None:
        speaker = SlowSpeaker()
        speaker.may_answer.set()
        section = UnderstandingSection(captions="slow")
        understanding = Understanding(
            section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=Clock()
        )
        understanding.ask([question(1, role="narration"), question(2, feed_id="gone"), question(3, at_s=(900.0,))])
        await settled(understanding, lambda: understanding.status()["slow"].get("nothing_left") == 1)
        answers = understanding.take()[1]
        assert [(answer.question_id, answer.text, answer.model) for answer in answers] == [
            ("rule/1", "", ""),
            ("rule/2", "", ""),
            ("rule/3", "", ""),
        ]
        assert speaker.asked == []

    run(test)


def test_the_same_question_waits_once(feed: Feed) -> None:
    async def test() -> None:
        speaker = SlowSpeaker()
        section = UnderstandingSection(captions="slow")
        understanding = Understanding(
            section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=Clock()
        )
        for _ in range(3):
            understanding.ask([question()])
        await settled(understanding, lambda: len(speaker.asked) == 1)
        speaker.may_answer.set()
        await settled(understanding, lambda: understanding.status()["slow"].get("answered") == 1)
        assert len(understanding.take()[1]) == 1

    run(test)


def test_unusual_sound_and_pictures_become_words_of_their_time_for_windows_and_for_alerts(feed: Feed) -> None:
    async def test() -> None:
        joined: list[TextSpan] = []
        section = UnderstandingSection(speech=SPEECH, captions=DESCRIBER)
        options = {SPEECH: {"loud": 0.1}, DESCRIBER: {}}
        speakers = {name: LocalSpeaker(name, options[name], "cpu", roles=()) for name in options}
        understanding = Understanding(section, speakers, feeds={"cam": feed}, inject=joined.append, now=Clock())
        understanding.attend([unusual(10.0), unusual(11.0)])
        await settled(understanding, lambda: len(joined) == 2)
        by_origin = {span.origin: span for span in joined}
        heard, seen = by_origin["transcript"], by_origin["described"]
        assert (heard.text, heard.model, heard.confidence) == ("somebody shouts help", "loud@1", 0.5)
        assert (heard.start_s, heard.end_s) == (5.0, 16.0)
        assert (seen.start_s, seen.end_s, seen.model) == (10.0, 12.0, "shade@1")
        assert seen.text.startswith("2 pictures for: ")
        assert understanding.take()[0] == joined
        await settled(understanding, lambda: understanding.idle)

    run(test)


def test_who_speaks_is_written_down_after_what_is_unusual(feed: Feed) -> None:
    async def test() -> None:
        speaker = SlowSpeaker(one_at_a_time=True)
        section = UnderstandingSection(speech="slow", captions="slow")
        understanding = Understanding(
            section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=Clock()
        )
        understanding.ask([question(1), question(2)])  # so that the model has its hands full
        await settled(understanding, lambda: len(speaker.asked) == IN_FLIGHT)
        feed.spoken.put((2.0, 3.0))
        understanding.attend([unusual(20.0)])
        understanding.turn()
        for number in range(1, 4):  # one hand becomes free, and takes what matters most
            speaker.may_answer.set()
            await settled(understanding, lambda n=number: len(speaker.asked) == IN_FLIGHT + n)  # type: ignore[misc]
        lengths_s = [
            round(request.size / 16_000) for request in speaker.asked[IN_FLIGHT:] if isinstance(request, np.ndarray)
        ]
        assert lengths_s == [10, 6]  # 15 to 25 s, unusual; then 1 to 7 s, in which somebody spoke

    run(test)


def test_a_recording_stands_still_until_its_moment_is_answered_or_dropped(clip: Path) -> None:
    async def test() -> None:
        speaker, pacing, clock = SlowSpeaker(), Pacing(), Clock()
        feed = Feed(clip, pacing=pacing)
        section = UnderstandingSection(captions="slow")
        understanding = Understanding(section, {"slow": speaker}, feeds={"cam": feed}, inject=lambda _: None, now=clock)
        waited: list[str] = []

        async def read_on() -> None:
            await asyncio.to_thread(pacing.wait_for_all, lambda: False)
            waited.append("went on")

        understanding.ask([question(number) for number in range(3)])
        reader = asyncio.create_task(read_on())
        clock.now_s += 60.0  # a live moment would have been given up
        await settled(understanding, lambda: len(speaker.asked) == IN_FLIGHT)
        assert waited == []
        speaker.may_answer.set()
        await settled(understanding, lambda: len(speaker.asked) == 3 and reader.done())
        assert waited == ["went on"]

    run(test)


def test_a_model_that_breaks_or_is_missing_is_counted_and_the_next_moment_is_asked(feed: Feed) -> None:
    async def test() -> None:
        section = UnderstandingSection(captions=MISSING)
        speakers = {MISSING: LocalSpeaker(MISSING, {}, "cpu", roles=("captions",))}
        understanding = Understanding(section, speakers, feeds={"cam": feed}, inject=lambda _: None, now=Clock())
        understanding.ask([question(1), question(2)])
        await settled(understanding, lambda: understanding.status()[MISSING].get("unanswered") == 2)
        assert "there is no folder" in understanding.status()[MISSING]["trouble"]
        assert [answer.text for answer in understanding.take()[1]] == ["", ""]

    run(test)


def test_a_model_that_cannot_do_what_it_is_wanted_for_says_so() -> None:
    speaker = LocalSpeaker(DESCRIBER, {}, "cpu", roles=("speech",))
    assert "cannot write down speech" in speaker.trouble


def test_a_feed_that_leaves_takes_its_moments_with_it(feed: Feed) -> None:
    async def test() -> None:
        speaker = SlowSpeaker()
        feeds = {"cam": feed}
        section = UnderstandingSection(captions="slow")
        understanding = Understanding(section, {"slow": speaker}, feeds=feeds, inject=lambda _: None, now=Clock())
        understanding.ask([question(number) for number in range(3)])
        del feeds["cam"]
        understanding.forget("cam")
        assert understanding.status()["slow"]["waiting"] == 0
        assert len(understanding.take()[1]) == 3
        assert understanding.idle

    run(test)
