"""A shard's questions to slow models: speech written down, pictures described, alerts told of, rules confirmed.

What is asked is planned in `asking`, waits in `ondemand`, is decoded by `recent` and put to the model by `asker`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mmstream.buffers import Mailbox
from mmstream.config import UnderstandingSection
from mmstream.encoders.prompts import caption_prompt
from mmstream.evidence import PacketRing
from mmstream.stages import Question
from mmstream.types import TextOrigin, TextSpan
from mmstream.understanding.asker import Asker
from mmstream.understanding.asking import Listening, Looking, Stretch
from mmstream.understanding.ondemand import LIVE_WITHIN_S, Attention, PictureAnswer, PictureQuestion, Role, Tier
from mmstream.understanding.pacing import Pacing
from mmstream.understanding.recent import pictures_at, sound_between
from mmstream.understanding.speaking import Said, Speaker

MAX_SAID_CHARS = 1000
CAPTION_WORDS = 30
PICTURE_INSET_S = 0.3
"""A window is shown by a picture near its start and one near its end."""


class AskedFeed(Protocol):
    """What is needed of a `feed.FeedRunner`."""

    ring: PacketRing
    spoken: Mailbox[tuple[float, float]]
    """Intervals in which somebody spoke."""
    pacing: Pacing | None
    """Of a recording, which waits for its answers; None: live."""

    @property
    def heard_until_s(self) -> float:
        """Up to here its packets are in the ring; infinite when nothing more comes."""
        ...


class Understanding:
    """Turns what is unusual, spoken and asked into questions to models, and their answers into words.

    Words go to ``inject`` at once, and again into `take`; answers to `PictureQuestion`s only there. At most
    ``max_waiting`` moments wait per model and two are with it. A live feed's moment is given up after 30 s. A recording
    stands still while one of its moments waits, and its sound is put into the queue only when there is room.
    """

    def __init__(
        self,
        section: UnderstandingSection,
        speakers: Mapping[str, Speaker],
        *,
        feeds: Mapping[str, AskedFeed],
        inject: Callable[[TextSpan], object],
        now: Callable[[], float],
    ) -> None:
        """``feeds``: those of the shard, as they come and go."""
        self._askers = {
            name: Asker(speaker, max_waiting=section.max_waiting, now=now) for name, speaker in speakers.items()
        }
        wanted: dict[Role, str] = {
            "speech": section.speech,
            "captions": section.captions,
            "narration": section.narration,
        }
        self._for: dict[Role, Asker] = {
            role: self._askers[name] for role, name in wanted.items() if name in self._askers
        }
        self._feeds = feeds
        self._inject = inject
        self._listening: dict[str, Listening] = {}
        self._looking: dict[str, Looking] = {}
        self._words: list[TextSpan] = []
        self._answers: list[PictureAnswer] = []
        self._questions: set[str] = set()

    @property
    def listens(self) -> bool:
        """Whether somebody writes down what is said."""
        return "speech" in self._for

    @property
    def asks(self) -> bool:
        """Whether any model is asked about the feeds."""
        return bool(self._askers)

    @property
    def idle(self) -> bool:
        """Nothing waits, is being asked, or has been answered and not taken."""
        return not self._words and not self._answers and all(asker.idle for asker in self._askers.values())

    def attend(self, windows: Sequence[Attention]) -> None:
        """Fusion found these unusual."""
        for window in windows:
            feed = self._feeds.get(window.feed_id)
            if feed is None:
                continue
            if self.listens:
                self._ears(window.feed_id).unusual(window.start_s, window.end_s, surprise=window.surprise)
            looking = self._looking.setdefault(window.feed_id, Looking())
            if "captions" in self._for and looking.worth_it(window):
                self._look(feed, window)

    def ask(self, questions: Sequence[PictureQuestion]) -> None:
        """Each is answered once, at the latest when its time is over."""
        for question in questions:
            if question.question_id in self._questions:
                continue
            self._questions.add(question.question_id)
            done = functools.partial(self._answered, question)
            feed, asker = self._feeds.get(question.feed_id), self._for.get(question.role)
            if feed is None or asker is None:
                done(None)
                continue
            asker.put(
                question.feed_id,
                functools.partial(_posed, feed.ring, question),
                done,
                tier=question.tier,
                surprise=question.surprise,
                within_s=question.within_s,
                pacing=feed.pacing,
            )

    def turn(self) -> None:
        """Look what is ripe, too old, and whether a model has a hand free. To be called some times a second."""
        if self.listens:
            for feed_id, feed in self._feeds.items():
                self._listen(feed_id, feed)
        for asker in self._askers.values():
            asker.turn()

    def take(self) -> tuple[list[TextSpan], list[PictureAnswer]]:
        """What has been answered since the last time."""
        words, self._words = self._words, []
        answers, self._answers = self._answers, []
        # only now may a question be asked anew: fusion repeats it until it has the answer
        self._questions.difference_update(answer.question_id for answer in answers)
        return words, answers

    def forget(self, feed_id: str) -> None:
        """The feed has left: what waits of it is dropped."""
        self._listening.pop(feed_id, None)
        self._looking.pop(feed_id, None)
        for asker in self._askers.values():
            asker.forget(feed_id)

    def stop(self) -> None:
        for asker in self._askers.values():
            asker.stop()

    def status(self) -> dict[str, dict[str, Any]]:
        """Model -> counters, how many moments wait, and why it cannot be asked, if so."""
        status = {name: asker.status() for name, asker in self._askers.items()}
        for name, asker in self._askers.items():
            if asker is self._for.get("speech"):
                status[name]["dropped_unheard"] = sum(ears.num_dropped for ears in self._listening.values())
        return status

    # -- inside -----------------------------------------------------------------------------------------

    def _ears(self, feed_id: str) -> Listening:
        return self._listening.setdefault(feed_id, Listening())

    def _listen(self, feed_id: str, feed: AskedFeed) -> None:
        ears, asker = self._ears(feed_id), self._for["speech"]
        for start_s, end_s in feed.spoken.take(feed.spoken.capacity, 0.0):
            ears.spoken(start_s, end_s)
        if feed.pacing is not None and not asker.has_room:
            return  # a recording stands still: its sound stays in the ring
        for stretch in ears.ripe(feed.heard_until_s):
            asker.put(
                feed_id,
                functools.partial(sound_between, feed.ring, stretch.start_s, stretch.end_s),
                functools.partial(self._said, feed_id, stretch, "transcript"),
                tier=Tier.UNUSUAL if stretch.unusual else Tier.SPOKEN,
                surprise=stretch.surprise,
                within_s=LIVE_WITHIN_S,
                pacing=feed.pacing,
            )

    def _look(self, feed: AskedFeed, window: Attention) -> None:
        self._for["captions"].put(
            window.feed_id,
            functools.partial(_shown, feed.ring, window),
            functools.partial(self._said, window.feed_id, window, "described"),
            tier=Tier.UNUSUAL,
            surprise=window.surprise,
            within_s=LIVE_WITHIN_S,
            pacing=feed.pacing,
        )

    def _said(self, feed_id: str, of: Stretch | Attention, origin: TextOrigin, said: Said | None) -> None:
        if said is None or not said.text:
            return
        span = TextSpan(
            feed_id=feed_id,
            start_s=of.start_s,
            end_s=of.end_s,
            text=said.text[:MAX_SAID_CHARS],
            origin=origin,
            confidence=said.confidence,
            model=said.model,
        )
        self._inject(span)
        self._words.append(span)

    def _answered(self, question: PictureQuestion, said: Said | None) -> None:
        self._answers.append(
            PictureAnswer(
                feed_id=question.feed_id,
                question_id=question.question_id,
                role=question.role,
                text=said.text[:MAX_SAID_CHARS] if said is not None else "",
                model=said.model if said is not None else "",
            )
        )


def _shown(ring: PacketRing, window: Attention) -> Question | None:
    pictures = pictures_at(ring, (window.start_s + PICTURE_INSET_S, window.end_s - PICTURE_INSET_S))
    return Question(prompt=caption_prompt(), pictures=pictures, max_words=CAPTION_WORDS) if pictures else None


def _posed(ring: PacketRing, question: PictureQuestion) -> Question | None:
    pictures = pictures_at(ring, question.at_s)
    if question.needs_picture and not pictures:
        return None
    return Question(prompt=question.prompt, pictures=pictures, max_words=question.max_words)
