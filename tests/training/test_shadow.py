"""A trial replays held-out footage as the live path would: causally, at the budget, with the same events for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from mmstream.errors import StageError
from mmstream.training import plain
from mmstream.training.corpus import Corpus
from mmstream.training.events import EVENTS, VISIBLE, as_seen_in, seen_again
from mmstream.training.footage import Burst, Glimpse
from mmstream.training.promote import judge
from mmstream.training.rates import Blocks, interval
from mmstream.training.rehearsal import LEAST_RANK, Rehearsal, calibrated, num_openings
from mmstream.training.selection import LEAST_HELD_OUT, LEAST_TRAIN, MAX_BURSTS, NUM_DONORS, Selection
from mmstream.training.shadow import seconds_per_window, shadow_trial
from mmstream.types import Channel, Embedding
from tests.training.made_up import START_S, make_alert, make_burst, make_corpus
from tests.training.small_kind import ALONE, CHANNEL, CountedSeconds

VALUE = dataclasses.replace(CHANNEL, normality="value")


def saying(values: dict[float, float], clock: CountedSeconds | None = None, *, own_s: float = 0.0):  # type: ignore[no-untyped-def]
    """An encoder whose every window of a burst is as unusual as ``values`` says of its start; 0 else."""

    def encode(burst: Burst) -> list[list[Embedding]]:
        if clock is not None:
            clock.now_s += own_s * len(burst.glimpses)
        value = values.get(burst.start_s, 0.0)
        return [
            [
                Embedding(
                    feed_id=burst.feed_id,
                    start_s=glimpse.start_s,
                    end_s=glimpse.end_s,
                    channel=CHANNEL.name,
                    vector=np.array([value], np.float32),
                    model="said@1",
                )
            ]
            for glimpse in burst.glimpses
        ]

    return encode


# -- events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_changes_what_it_is_about_and_nothing_else(kind: str) -> None:
    burst = make_burst("gate", 3, motion=True)
    donors = [make_burst(feed, number, motion=True) for feed in ("gate", "yard") for number in range(3)]
    changed = EVENTS[kind](burst, donors, np.random.default_rng(5))
    assert changed is not None
    seen = [not np.array_equal(a.picture, b.picture) for a, b in zip(burst.glimpses, changed.glimpses, strict=True)]
    heard = [not np.array_equal(a.mel, b.mel) for a, b in zip(burst.glimpses, changed.glimpses, strict=True)]
    moved = [not np.array_equal(a.speeds, b.speeds) for a, b in zip(burst.motion, changed.motion, strict=True)]
    looked = [not np.array_equal(a.luma, b.luma) for a, b in zip(burst.motion, changed.motion, strict=True)]
    about = {"picture": any(seen), "sound": any(heard), "speed": any(moved), "look": any(looked)}
    expected = {"object": "picture", "other_sound": "sound", "noise": "sound", "faster": "speed", "other_look": "look"}
    wanted = expected[kind if kind in expected else kind.partition("_")[0]]
    assert about == {name: name == wanted for name in about}
    assert [(g.start_s, g.end_s) for g in changed.glimpses] == [(g.start_s, g.end_s) for g in burst.glimpses]
    again = EVENTS[kind](burst, donors, np.random.default_rng(5))
    assert again is not None
    for one, other in zip(changed.glimpses, again.glimpses, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        np.testing.assert_array_equal(one.mel, other.mel)


@pytest.mark.parametrize("kind", EVENTS)
def test_what_has_no_picture_sound_or_motion_holds_no_such_event(kind: str) -> None:
    whole = make_burst("gate", 3)
    bare = dataclasses.replace(
        whole, glimpses=tuple(dataclasses.replace(glimpse, picture=None, mel=None) for glimpse in whole.glimpses)
    )
    assert EVENTS[kind](bare, [make_burst("yard", 1, motion=True)], np.random.default_rng(5)) is None


def test_a_pasted_thing_moves_or_stays_and_can_be_seen() -> None:
    burst, donors = make_burst("gate", 3), [make_burst("yard", number) for number in range(4)]
    for kind, moves in (("object_passes", True), ("object_stays", False)):
        changed = EVENTS[kind](burst, donors, np.random.default_rng(11))
        assert changed is not None
        masks = []
        for before, after in zip(burst.glimpses, changed.glimpses, strict=True):
            assert before.picture is not None
            assert after.picture is not None
            difference = np.abs(after.picture.astype(float) - before.picture).max(axis=2)
            masks.append(difference > 0)
            assert difference[difference > 0].mean() >= VISIBLE / 2
        boxes = [(rows.min(), cols.min()) for rows, cols in (np.nonzero(mask) for mask in masks)]
        assert (len(set(boxes)) > 2) == moves


def test_what_comes_again_is_nearly_the_same() -> None:
    burst = make_burst("gate", 3)
    again = seen_again(burst, np.random.default_rng(0))
    for one, other in zip(burst.glimpses, again.glimpses, strict=True):
        assert one.picture is not None
        assert other.picture is not None
        difference = np.abs(one.picture.astype(float) - other.picture)
        assert 0.0 < difference.mean() < 12.0


def in_infrared(burst: Burst) -> Burst:
    """The same without colour."""

    def grey(glimpse: Glimpse) -> Glimpse:
        assert glimpse.picture is not None
        return dataclasses.replace(glimpse, picture=np.repeat(glimpse.picture[..., :1], 3, axis=2))

    return dataclasses.replace(burst, glimpses=tuple(map(grey, burst.glimpses)))


def most_colour(burst: Burst) -> int:
    """Levels between two colours of one pixel."""
    return max(int(np.ptp(glimpse.picture, axis=2).max()) for glimpse in burst.glimpses if glimpse.picture is not None)


@pytest.mark.parametrize("kind", ["object_passes", "object_stays"])
def test_what_comes_into_an_infrared_picture_has_no_colour(kind: str) -> None:
    """Any model that sees colours would find it by that alone, and all trials of a night camera would look alike."""
    burst, donors = in_infrared(make_burst("gate", 3)), [make_burst("yard", number) for number in range(4)]
    changed = EVENTS[kind](burst, donors, np.random.default_rng(11))
    assert changed is not None
    grey = as_seen_in(burst, changed)
    assert (most_colour(changed) > 10, most_colour(grey)) == (True, 0)
    assert {glimpse.mode for glimpse in grey.glimpses} == {"infrared"}
    assert any(not np.array_equal(a.picture, b.picture) for a, b in zip(burst.glimpses, grey.glimpses, strict=True))
    by_day = EVENTS[kind](make_burst("gate", 3), donors, np.random.default_rng(11))
    assert by_day is not None
    unchanged = as_seen_in(make_burst("gate", 3), by_day)
    assert all(a is b for a, b in zip(by_day.glimpses, unchanged.glimpses, strict=True))


def test_a_camera_that_is_tried_by_night_is_compared_with_its_nights() -> None:
    """Without that, every evening would be as unusual as what nobody has seen."""
    rehearsal = Rehearsal({VALUE.name: VALUE})
    day, night = make_burst("gate", 3), in_infrared(make_burst("gate", 4))
    for burst, mode in ((day, ""), (night, "infrared")):
        heard = rehearsal.hear(burst, saying({burst.start_s: 1.0})(burst))
        assert {key[3] for lesson in heard.lessons for key, *_ in lesson.parts} == {mode}


# -- the threshold ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rank"), [(20, LEAST_RANK), (200, LEAST_RANK), (1000, 6)])
def test_the_production_calibrator_sets_the_threshold_by_the_rank_it_says(count: int, rank: int) -> None:
    maxima = 2.0 + 3.0 * np.random.default_rng(count).random(count)
    threshold = calibrated(maxima.tolist(), alerts_per_day=2.0)
    assert (threshold.rank, threshold.num_blocks) == (rank, count)
    # neighbours open one alert together, so it may be a little below the largest of that rank, never above
    assert np.sort(maxima)[-2 * rank] < threshold.levels.alert <= np.sort(maxima)[-rank] + 1e-9
    assert num_openings(maxima.tolist(), threshold) < rank


def test_without_any_maximum_nothing_is_ever_an_alert() -> None:
    threshold = calibrated([], alerts_per_day=2.0)
    assert not threshold.is_alert(99.0)
    assert num_openings([99.0], threshold) == 0


def test_the_rate_on_normal_days_is_what_the_gate_expects() -> None:
    """Exchangeable bursts of 80 made-up cameras: alerts are as frequent as rank and blocks say, to 99.9 %."""
    random = np.random.default_rng(4)
    num_alerts = rank = num_blocks = 0
    for _ in range(80):
        scores = 1.5 + random.gumbel(0.0, 0.4, 90)
        threshold = calibrated(scores[:60].tolist(), alerts_per_day=2.0)
        rank, num_blocks = threshold.rank, threshold.num_blocks
        num_alerts += num_openings(scores[60:].tolist(), threshold)
    assert (rank, num_blocks) == (LEAST_RANK, 60)
    # per camera beta-binomial (30 blocks, Beta(3, 58)); 80 of them together are nearly normal
    law = stats.betabinom(30, rank, num_blocks + 1 - rank)
    spread = stats.norm.ppf(0.9995) * np.sqrt(80 * law.var())
    assert num_alerts <= 80 * law.mean() + spread
    assert num_alerts >= 0.6 * (80 * law.mean() - spread)  # risk control is on the safe side


@pytest.mark.parametrize("usual", [0.4, 2.5])
@pytest.mark.parametrize("alerts_per_day", [2.0, 30.0, 8000.0])
def test_a_good_model_keeps_the_rate_whatever_the_budget(alerts_per_day: float, usual: float) -> None:
    """With one of 8000 a day the number of openings would be half of what is expected, or hardly anything be unusual
    enough for an alert at all, and every version be refused."""
    random = np.random.default_rng(5)
    for _ in range(12):
        scores = (usual + random.gumbel(0.0, 0.2, 400)).tolist()
        threshold = calibrated(scores[:280], alerts_per_day=alerts_per_day)
        blocks = Blocks(rank=threshold.rank, num_calibrated=threshold.num_blocks, num_new=120)
        least, most = interval([blocks], level=0.999)
        assert least <= num_openings(scores[280:], threshold) <= most


# -- the trial --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(num_train=26, num_held_out=6, motion=True)


def test_every_side_of_a_comparison_meets_the_same_events(corpus: Corpus) -> None:
    kinds = tuple(EVENTS)
    without = shadow_trial(corpus, encode=None, channels={}, events=kinds, seed=3)
    with_one = shadow_trial(corpus, encode=saying({}), channels={"said": VALUE}, events=kinds, seed=3)
    assert without.found.keys() == with_one.found.keys()
    assert {name.split("-")[-2] for name in without.found} == set(kinds)
    assert 100 <= len(without.found) <= 200
    other = shadow_trial(corpus, encode=None, channels={}, events=kinds, seed=4)
    assert other.found.keys() != without.found.keys()
    judge(without, with_one)


def test_a_trial_gives_the_same_again(corpus: Corpus) -> None:
    one, other = (
        shadow_trial(corpus, encode=None, channels={}, events=("object_stays", "noise"), seed=1) for _ in range(2)
    )
    assert one == other
    assert 0 < sum(one.found.values()) < len(one.found)


def test_what_the_model_says_counts_and_nothing_is_learned_before_it_is_judged() -> None:
    """One held-out burst is as unusual as none before: it is one alert more."""
    corpus = make_corpus(("gate",), num_train=60, num_held_out=20)
    starts_s = [START_S + 60.0 * number for number in range(80)]
    noise = dict(zip(starts_s, np.random.default_rng(0).normal(0.0, 1.0, 80).tolist(), strict=True))
    quiet = shadow_trial(corpus, encode=saying(noise), channels=_alone(VALUE), events=())
    assert quiet.blocks == (Blocks(rank=LEAST_RANK, num_calibrated=30, num_new=20),)  # the first half only taught
    strange = {**noise, starts_s[70]: 40.0}
    loud = shadow_trial(corpus, encode=saying(strange), channels=_alone(VALUE), events=())
    assert loud.num_alerts == quiet.num_alerts + 1


def test_confirmed_alerts_are_asked_again_and_false_ones_after_they_were_absorbed() -> None:
    alerts = [make_alert("gate", 50, "true"), make_alert("gate", 66, "true"), make_alert("gate", 70, "false_alarm")]
    alerts += [make_alert("gate", 72, None), make_alert("gate", 2000, "true")]  # no verdict; no footage any more
    corpus = make_corpus(("gate",), num_train=60, num_held_out=20, alerts=alerts)
    starts_s = [START_S + 60.0 * number for number in range(80)]
    noise = dict(zip(starts_s, np.random.default_rng(0).normal(0.0, 1.0, 80).tolist(), strict=True))
    told = {**noise, starts_s[50]: 30.0, starts_s[66]: 30.0, starts_s[70]: 30.0}
    trial = shadow_trial(corpus, encode=saying(told), channels=_alone(VALUE), events=())
    assert trial.confirmed == {alerts[0].alert_id: True, alerts[1].alert_id: True}
    assert trial.absorbed.keys() == {alerts[2].alert_id}
    deaf = shadow_trial(corpus, encode=saying(noise), channels=_alone(VALUE), events=())
    assert not all(deaf.confirmed.values())
    assert [each.num_new for each in trial.blocks] == [20 - 2]  # alerts that nobody called false are no normal footage


def test_time_is_that_of_encoding_per_window_the_least_of_several_rounds() -> None:
    clock = CountedSeconds()
    corpus = make_corpus(("gate",), num_train=30, num_held_out=8)
    trial = shadow_trial(
        corpus, encode=saying({}, clock, own_s=0.25), channels=_alone(VALUE), events=(), memory_bytes=77, clock=clock
    )
    assert trial.window_s == pytest.approx(0.25)
    assert trial.memory_bytes == 77

    disturbed = CountedSeconds()
    calls = iter(range(10_000))

    def encode(burst: Burst) -> list[list[Embedding]]:
        disturbed.now_s += 5.0 if next(calls) % 3 == 0 else 1.0  # something else runs now and then
        return [[] for _ in burst.glimpses]

    bursts = [make_burst("gate", number) for number in range(4)]
    assert seconds_per_window(encode, bursts, clock=disturbed) == pytest.approx(1.0 / 4)


def test_too_little_footage_is_said_with_how_much_is_wanted() -> None:
    with pytest.raises(StageError, match="8 bursts to learn from and 2 held out; 24 and 6 are wanted"):
        shadow_trial(make_corpus(num_train=8, num_held_out=2), encode=None, channels={}, events=())


def test_a_long_stretch_is_thinned_evenly_and_read_as_a_stream() -> None:
    """3000 bursts of one camera: 400 of them are replayed, never many in memory."""
    most_at_once = 0
    alive: set[int] = set()

    class Counted(Burst):
        def __del__(self) -> None:
            alive.discard(id(self))

    template = make_burst("gate", 0)

    def read(feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        nonlocal most_at_once
        for number in range(1300):
            start_s = START_S + 60.0 * number
            if from_s <= start_s < to_s:
                glimpses = tuple(
                    dataclasses.replace(g, start_s=start_s + n, end_s=start_s + n + 2.0, picture=None, mel=None)
                    for n, g in enumerate(template.glimpses)
                )
                burst = Counted(feed_id=feed_id, glimpses=glimpses)
                alive.add(id(burst))
                most_at_once = max(most_at_once, len(alive))
                yield burst

    split_s = START_S + 60.0 * 1000
    corpus = Corpus(feeds=("gate",), from_s=START_S, split_s=split_s, to_s=split_s + 60.0 * 300, read_bursts=read)
    heard: list[float] = []

    def encode(burst: Burst) -> list[list[Embedding]]:
        heard.append(burst.start_s)
        return [[] for _ in burst.glimpses]

    shadow_trial(corpus, encode=encode, channels=_alone(VALUE), events=())
    of_train = sorted({at_s for at_s in heard if at_s < split_s})
    assert len(of_train) == 334
    assert set(np.diff(of_train).tolist()) == {180.0}
    assert most_at_once < 100


def test_many_cameras_share_what_a_trial_may_replay() -> None:
    template = make_burst("gate", 0, motion=True)

    def read(feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        for number in range(300):
            start_s = START_S + 60.0 * number
            if from_s <= start_s < to_s:
                glimpse = dataclasses.replace(template.glimpses[0], start_s=start_s, end_s=start_s + 2.0)
                yield Burst(feed_id=feed_id, glimpses=(glimpse,), motion=template.motion)

    split_s = START_S + 60.0 * 200
    feeds = tuple(f"cam-{number}" for number in range(40))
    corpus = Corpus(feeds=feeds, from_s=START_S, split_s=split_s, to_s=split_s + 6000.0, read_bursts=read)
    selection = Selection.of(corpus, seed=0)
    assert selection.feeds == feeds
    assert sum(sum(used.values()) for used in selection.num_used.values()) <= MAX_BURSTS
    for part, least in (("train", LEAST_TRAIN), ("held_out", LEAST_HELD_OUT)):
        bursts = list(selection.bursts("cam-7", part))  # type: ignore[arg-type]
        assert len(bursts) == selection.num_used["cam-7"][part] >= least  # type: ignore[index]
    assert len(selection.donors) == NUM_DONORS
    assert len({donor.feed_id for donor in selection.donors}) > 10
    assert all(len(donor.motion) == 1 and donor.start_s < split_s for donor in selection.donors)


# -- what both sides stand on -----------------------------------------------------------------------------------


def test_the_plain_channels_see_hear_and_feel_what_is_there() -> None:
    burst = make_burst("gate", 3, motion=True)
    found = plain.plain(burst)
    assert {embedding.channel for embedding in found[0]} == set(plain.CHANNELS)
    loud = plain.plain(EVENTS["noise"](burst, [], np.random.default_rng(1)) or burst)
    sound, louder = (
        np.array([e.vector for window in windows for e in window if e.channel == "sound"]) for windows in (found, loud)
    )
    assert (louder >= sound - 1e-4).all()
    assert (louder > sound + 0.1).any()
    quick = plain.plain(EVENTS["faster"](burst, [], np.random.default_rng(1)) or burst)
    speed, faster = (
        np.array([e.vector[0] for window in windows for e in window if e.channel == "motion"])
        for windows in (found, quick)
    )
    assert (faster > speed).all()
    sparse = plain.plain(dataclasses.replace(burst, motion=burst.motion[::5]))  # one a second, as footage has them
    assert all("motion" in {embedding.channel for embedding in window} for window in sparse)
    mute = dataclasses.replace(burst, glimpses=tuple(dataclasses.replace(g, mel=None) for g in burst.glimpses))
    assert {embedding.channel for embedding in plain.plain(mute)[0]} == {"appearance", "motion"}


def _alone(channel: Channel) -> dict[str, Channel]:
    """What the site measures by itself stays out."""
    return {**ALONE, channel.name: channel}
