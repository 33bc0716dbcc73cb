"""Pictures, sounds and words that belong together are told from those that do not, and only where there is a link."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from mmstream.encoders.words import WordsEncoder
from mmstream.fusion.adapters import fit, others
from mmstream.fusion.agreement import MAX_FOREIGN, Agreement
from mmstream.fusion.pairs import RISK, PairModel
from mmstream.fusion.trial import Trial, tried
from mmstream.testing import make_window as make_media
from mmstream.types import AlignedWindow, Embedding

START_S = 1_700_000_000.0
NUM_KINDS = 3
NUM_ROWS = 640


def make_window(second: float, *, model: str = "1", **vectors: np.ndarray) -> AlignedWindow:
    start_s = START_S + second
    embeddings = [
        Embedding(
            feed_id="yard",
            start_s=start_s,
            end_s=start_s + 2.0,
            channel=channel,
            vector=np.asarray(vector, np.float32),
            model=f"{channel}@{model}",
        )
        for channel, vector in vectors.items()
    ]
    return AlignedWindow(feed_id="yard", start_s=start_s, end_s=start_s + 2.0, embeddings=tuple(embeddings))


class Street:
    """Things of three kinds pass, nothing between them; each has its look and its sound, both in much noise."""

    def __init__(self, seed: int = 0, *, linked: bool = True) -> None:
        self.random = np.random.default_rng(seed)
        self._looks = self.random.normal(size=(NUM_KINDS + 1, 12)) * 1.5
        self._sounds = self.random.normal(size=(NUM_KINDS + 1, 100)) * 1.5
        self._looks[0] = self._sounds[0] = 0.0
        self._linked = linked
        self._kinds, self._left_s = [0, 0], [0, 0]

    def step(self) -> dict[str, np.ndarray]:
        """What the next second shows and sounds; not linked: another street is heard."""
        for place in (0, 1):
            self._left_s[place] -= 1
            if self._left_s[place] <= 0:
                self._kinds[place] = int(self.random.integers(0, NUM_KINDS + 1)) * int(self.random.integers(0, 2))
                self._left_s[place] = int(self.random.integers(3, 9))
        return self.show(self._kinds[0], self._kinds[0 if self._linked else 1])

    def show(self, seen: int, heard: int) -> dict[str, np.ndarray]:
        picture = self._looks[seen] + self.random.normal(size=12)
        return {"motion": picture, "sound": self._sounds[heard] + self.random.normal(size=100)}


def learn(agreement: Agreement, street: Street, seconds: range) -> None:
    for second in seconds:
        agreement.weigh(make_window(second, **street.step()))
        agreement.keep(START_S + second + 2.0, hold=False)


def scores_of(agreement: Agreement, street: Street, kinds: Sequence[tuple[int, int]], from_s: int) -> list[float]:
    """Of passages of four seconds each, half a minute apart."""
    scores = []
    for number, (seen, heard) in enumerate(kinds):
        found = [
            embedding
            for second in range(4)
            for embedding in agreement.weigh(make_window(from_s + 30 * number + second, **street.show(seen, heard)))
        ]
        scores.append(max((float(embedding.vector[0]) for embedding in found), default=0.0))
    return scores


def auc(events: Sequence[float], others: Sequence[float]) -> float:
    higher = np.subtract.outer(np.asarray(events), np.asarray(others))
    return float((higher > 0).mean() + 0.5 * (higher == 0).mean())


@pytest.fixture(scope="module")
def taught() -> tuple[Agreement, Street]:
    """After an hour of a street whose sound belongs to its picture."""
    agreement, street = Agreement({"motion", "sound"}), Street()
    learn(agreement, street, range(3600))
    return agreement, street


def test_what_sounds_like_another_thing_than_it_looks_is_found_though_each_alone_is_ordinary(taught):
    agreement, street = taught
    random = np.random.default_rng(1)
    right = [(kind, kind) for kind in random.integers(0, NUM_KINDS + 1, 60)]
    wrong = [(kind, (kind + random.integers(1, NUM_KINDS + 1)) % (NUM_KINDS + 1)) for kind, _ in right]
    assert agreement.summary()["picture-sound"]["used"]
    found = auc(scores_of(agreement, street, wrong, 4000), scores_of(agreement, street, right, 8000))
    assert found > 0.95


def test_a_sound_with_nobody_in_view_and_somebody_without_a_sound_are_mismatches(taught):
    agreement, street = taught
    usual = scores_of(agreement, street, [(0, 0), (1, 1), (2, 2), (3, 3)] * 10, 20_000)
    alone = scores_of(agreement, street, [(0, 1), (2, 0)] * 10, 30_000)
    assert auc(alone, usual) > 0.95


SAYINGS = (
    (),
    ("a car drives by", "car on the street", "some vehicle, a car"),
    ("somebody walks past", "a person walks", "two people walk along"),
    ("a dog barks at a cat", "dog without a lead", "the dog again"),
)


def said_of(street: Street, kind: int) -> np.ndarray:
    """What the words encoder makes of a caption about it."""
    encoded = WordsEncoder().encode(make_media(words=[str(street.random.choice(SAYINGS[kind]))]))
    assert encoded is not None
    return encoded.vector


def test_a_caption_that_contradicts_the_picture_is_a_mismatch():
    agreement, street = Agreement({"motion", "words"}), Street(9)
    for second in range(0, 12_000, 20):
        kind = int(street.random.integers(1, NUM_KINDS + 1))
        shown = {"motion": street.show(kind, 0)["motion"], "words": said_of(street, kind)}
        agreement.weigh(make_window(second, **shown))
        agreement.keep(START_S + second + 2.0, hold=False)
    assert agreement.summary()["picture-words"]["used"]

    def scores(wrong: bool) -> list[float]:
        found = []
        for number in range(60):
            seen = 1 + number % NUM_KINDS
            said = 1 + (number + 1) % NUM_KINDS if wrong else seen
            shown = {"motion": street.show(seen, 0)["motion"], "words": said_of(street, said)}
            (embedding,) = agreement.weigh(make_window(20_000 + 100 * number, **shown))
            found.append(float(embedding.vector[0]))
            agreement.discard(0.0)
        return found

    assert auc(scores(wrong=True), scores(wrong=False)) > 0.9


def test_a_microphone_in_another_street_never_gets_the_channel():
    agreement, street = Agreement({"motion", "sound"}), Street(2, linked=False)
    learn(agreement, street, range(3600))
    assert not any(pair["used"] for pair in agreement.summary().values())
    assert agreement.weigh(make_window(4000, **street.show(1, 2))) == ()


def slow_rows(random: np.random.Generator, count: int, memory_s: float, num: int) -> np.ndarray:
    """Autoregressive, one row per four seconds; half of them in bursts, with nothing between."""
    keep = np.exp(-4.0 / memory_s)
    noise = random.normal(size=(count, num)) * np.sqrt(1.0 - keep**2)
    rows = np.empty((count, num))
    rows[0] = random.normal(size=num)
    for number in range(1, count):
        rows[number] = keep * rows[number - 1] + noise[number]
    return np.where(rows > 1.0, rows, 0.0) if random.random() < 0.5 else rows


def test_of_200_feeds_without_a_link_no_more_than_the_nominal_share_ever_gets_it():
    """Slow and fast, in bursts or not, some with the same day in both: none of that is a link."""
    num_wrong = 0
    for seed in range(200):
        random = np.random.default_rng([7, seed])
        sides = [slow_rows(random, NUM_ROWS, 10.0 ** random.uniform(0.3, 2.5), 3) for _ in range(2)]
        if seed % 3 == 0:
            day = 2.0 * np.sin(2.0 * np.pi * np.arange(NUM_ROWS) / NUM_ROWS)
            sides = [side + day[:, None] for side in sides]
        left, right = (
            (side @ random.normal(size=(3, 6)) + 0.3 * random.normal(size=(NUM_ROWS, 6))).astype(np.float32)
            for side in sides
        )
        model = PairModel(num_left=6, num_right=6)
        was_used = False
        for number in range(NUM_ROWS):
            model.learn(left[number], right[number], 4.0 * number)
            was_used |= model.used
        num_wrong += was_used
    assert num_wrong <= RISK * 200


def test_the_trial_itself_errs_as_often_as_it_says():
    """A matcher of random directions, on slow rows without a link: its verdicts are right in 19 of 20 cases."""
    chances = []
    for seed in range(200):
        random = np.random.default_rng([8, seed])
        left, right = (slow_rows(random, 400, 10.0 ** random.uniform(0.3, 2.0), 4) for _ in range(2))
        at_s = 4.0 * np.arange(400)
        mismatch = Signs(random.normal(size=(4, 4)))
        chances.append(tried(mismatch, left.astype(np.float32), right.astype(np.float32), at_s).chance)
    assert np.mean(np.array(chances) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(chances) <= 0.5) >= 0.3


class Signs:
    """A matcher that has learned nothing."""

    def __init__(self, form: np.ndarray) -> None:
        self._form = form

    def mismatches(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return -(left @ self._form @ right.T)


def test_a_link_that_breaks_is_used_no_longer(taught):
    _, street = taught
    agreement = Agreement({"motion", "sound"})
    learn(agreement, street, range(2400))
    assert agreement.summary()["picture-sound"]["used"]
    street._linked = False
    learn(agreement, street, range(2400, 9000))
    assert not agreement.summary().get("picture-sound", {"used": False})["used"]


def test_what_is_held_back_or_discarded_is_not_learned():
    agreement, street = Agreement({"motion", "sound"}), Street(3)
    for second in range(100):
        agreement.weigh(make_window(second, **street.step()))
        agreement.keep(START_S + second + 2.0, hold=True)
    agreement.discard(START_S)
    learn(agreement, street, range(100, 105))
    assert agreement.state()[0]["pairs"] == {}


def test_it_goes_on_after_a_restart_exactly_as_before(taught):
    agreement, _ = taught
    record, arrays = agreement.state()
    again = Agreement({"motion", "sound"})
    again.load(json.loads(json.dumps(record)), {name: array.copy() for name, array in arrays.items()})
    assert again.summary() == agreement.summary()
    for one in (agreement, again):
        one.discard(0.0)  # pairs of the last seconds are not kept
    left, right = Street(4), Street(4)
    for second in range(50_000, 52_000):
        windows = [make_window(second, **street.step()) for street in (left, right)]
        scores = [one.weigh(window) for one, window in zip((agreement, again), windows, strict=True)]
        assert [e.vector.tolist() for e in scores[0]] == [e.vector.tolist() for e in scores[1]]
        for one in (agreement, again):
            one.keep(START_S + second + 2.0, hold=False)
    assert again.summary() == agreement.summary()


def test_three_pairs_of_long_vectors_stay_below_half_a_megabyte():
    random = np.random.default_rng(5)
    agreement = Agreement({"vision", "clap", "meaning"})
    for second in range(0, 12_000, 3):
        vectors = {name: random.normal(size=512) for name in ("vision", "clap", "meaning")}
        agreement.weigh(make_window(second, **vectors))
        agreement.keep(START_S + second + 2.0, hold=False)
    record, arrays = agreement.state()
    assert len(record["pairs"]) == 3
    assert sum(array.nbytes for array in arrays.values()) < 500_000


def test_vectors_of_one_model_are_compared_directly():
    random = np.random.default_rng(6)
    agreement = Agreement({"vision", "meaning"})

    def window(second: float, seen: int, said: int) -> AlignedWindow:
        kinds = np.eye(512)[:8]
        vectors = [kinds[kind] + 0.05 * random.normal(size=512) for kind in (seen, said)]
        made = make_window(second, vision=vectors[0], meaning=vectors[1])
        same = [
            Embedding(
                feed_id=e.feed_id, start_s=e.start_s, end_s=e.end_s, channel=e.channel, vector=e.vector, model="clip@1"
            )
            for e in made.embeddings
        ]
        return AlignedWindow(feed_id="yard", start_s=made.start_s, end_s=made.end_s, embeddings=tuple(same))

    for number in range(200):
        kind = int(random.integers(0, 8))
        agreement.weigh(window(20.0 * number, kind, kind))
        agreement.keep(START_S + 20.0 * number + 2.0, hold=False)
    assert agreement.summary()["picture-words"]["used"]
    (right,), (wrong,) = agreement.weigh(window(5000.0, 1, 1)), agreement.weigh(window(5100.0, 1, 2))
    assert right.channel == wrong.channel == "agreement:picture-words"
    assert wrong.vector[0] > right.vector[0] + 2.0


def test_pairs_of_another_model_are_not_judged_and_take_over_when_they_stay(taught):
    agreement, street = Agreement({"motion", "sound"}), taught[1]
    record, arrays = taught[0].state()
    agreement.load(record, arrays)
    for number in range(MAX_FOREIGN + 30):
        second = 60_000 + number
        assert agreement.weigh(make_window(second, model="2", **street.show(1, 1))) == ()
        agreement.keep(START_S + second + 2.0, hold=False)
    models = agreement.state()[0]["pairs"]["picture-sound"][0]
    assert set(models.values()) == {"motion@2", "sound@2"}


def test_a_feed_that_sleeps_shows_that_nothing_moves():
    """The gate is asleep: no motion, only that the share of what moves is 0; a shout is then heard alone."""
    agreement, street = Agreement({"motion", "activity", "sound"}), Street(7)
    for second in range(3600):
        shown = street.step()
        activity = np.abs(shown["motion"]).mean(keepdims=True)
        asleep = np.abs(shown["motion"]).max() < 2.5
        parts = {"sound": shown["sound"], "activity": 0.0 * activity if asleep else activity}
        agreement.weigh(make_window(second, **parts if asleep else parts | {"motion": shown["motion"]}))
        agreement.keep(START_S + second + 2.0, hold=False)
    assert agreement.summary()["picture-sound"]["used"]
    sounds = {kind: street.show(0, kind)["sound"] for kind in (0, 2)}
    still = np.zeros(1)
    scores = {
        kind: agreement.weigh(make_window(5000 + 100 * kind, activity=still, sound=sound))[0].vector[0]
        for kind, sound in sounds.items()
    }
    assert scores[2] > scores[0] + 0.5


@pytest.mark.parametrize("vectors", [{"motion": np.ones(12)}, {"sound": np.ones(100)}, {}, {"readings": np.ones(3)}])
def test_a_feed_with_one_modality_pays_nothing(vectors):
    agreement = Agreement({"motion", "sound", "words"})
    for second in range(50):
        assert agreement.weigh(make_window(second, **vectors)) == ()
        agreement.keep(START_S + second + 2.0, hold=False)
    assert agreement.state()[0]["pairs"] == {}
    assert agreement.summary() == {}


def test_another_view_forgets_what_went_with_its_pictures_only():
    agreement, street = Agreement({"motion", "sound", "words"}), Street(8)
    for second in range(60):
        agreement.weigh(make_window(second, words=street.random.normal(size=40), **street.step()))
        agreement.keep(START_S + second + 2.0, hold=False)
    assert len(agreement.state()[0]["pairs"]) == 3
    agreement.forget_view()
    assert list(agreement.state()[0]["pairs"]) == ["sound-words"]


def test_the_other_moments_are_the_nearest_that_are_a_minute_away():
    at_s = 10.0 * np.arange(40)
    away = others(at_s)
    assert sorted(away[20]) == [11, 12, 13, 14, 26, 27, 28] or sorted(away[20]) == [12, 13, 14, 26, 27, 28, 29]
    assert sorted(away[0]) == [6, 7, 8, 9, 10, 11, 12]
    assert (others(at_s[:5]) == -1).all()
    gaps = np.abs(at_s[away] - at_s[:, None])
    assert gaps.min() >= 60.0


def test_nothing_is_learned_from_rows_that_never_change():
    still = np.ones((400, 8), np.float32)
    assert fit(still, still, 4.0 * np.arange(400)) is None


def test_a_trial_needs_both_a_clear_and_a_sure_difference():
    assert Trial(auc=0.7, num_blocks=10, num_beaten=70).beats_chance(0.001)
    assert not Trial(auc=0.59, num_blocks=200, num_beaten=1400).beats_chance(0.05)
    assert not Trial(auc=0.7, num_blocks=10, num_beaten=40).beats_chance(0.05)
    assert not Trial(auc=1.0, num_blocks=3, num_beaten=21).beats_chance(0.05)
