"""Histories made in advance: as good as learned live, harmless when their model never comes."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from mmstream.normality.adoption import AdvanceHistory, Seen, learned_in_advance
from mmstream.normality.history import MIN_SCORES
from mmstream.normality.lessons import Key
from mmstream.normality.memory import MAX_MODELS, SETTLED, Memory
from mmstream.testing import make_embedding
from mmstream.types import AlignedWindow, Channel, Evidence, Float32

CHANNEL = Channel(name="site", modality="picture")
DIM = 8
START_S = 1_700_000_000.0


def ordinary(count: int, *, seed: int = 0, every_s: float = 15.0) -> list[Seen]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, DIM)).astype(np.float32)
    return [Seen(at_s=START_S + every_s * i, vector=vector) for i, vector in enumerate(vectors)]


def window(second: float, vector: Float32, model: str) -> AlignedWindow:
    embedding = make_embedding(START_S + second, channel="site", vector=vector.tolist(), model=model)
    return AlignedWindow(feed_id="cam", start_s=START_S + second, end_s=START_S + second + 2, embeddings=(embedding,))


def adopted(memory: Memory, seen: Iterable[Seen], model: str) -> bool:
    adoption = learned_in_advance(CHANNEL, seen, model=model, dim=DIM)
    return memory.adopt((adoption.channel, adoption.model, adoption.dim, adoption.mode), adoption.state)


def live(memory: Memory, model: str, seconds: range, *, seed: int = 1) -> list[tuple[Evidence, ...]]:
    random = np.random.default_rng(seed)
    found = []
    for second in seconds:
        weighed = memory.weigh(window(second, random.normal(size=DIM).astype(np.float32), model))
        memory.keep(weighed.lesson, hold=False)
        found.append(weighed.channels)
    return found


def rows(memory: Memory) -> set[str]:
    record, _ = memory.state()
    return {key[1] for key in record["keys"]}


def test_the_first_window_of_an_adopted_model_is_judged_and_a_strange_one_is_rare() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(100))
    assert adopted(memory, ordinary(400), "site@2")
    (usual,) = memory.weigh(window(200, ordinary(1, seed=9)[0].vector, "site@2")).channels
    (strange,) = memory.weigh(window(201, np.full(DIM, 9.0, np.float32), "site@2")).channels
    assert (usual.model, strange.model) == ("site@2", "site@2")
    assert usual.p > 0.01
    assert strange.p < 0.002


def test_without_adoption_a_new_model_says_nothing_at_first() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(100))
    assert memory.weigh(window(200, ordinary(1)[0].vector, "site@2")).channels == ()


def test_an_adopted_history_is_the_one_that_living_through_it_would_have_given() -> None:
    adopting, living = Memory({"site": CHANNEL}), Memory({"site": CHANNEL})
    seen = ordinary(700)
    adopted(adopting, seen, "site@2")
    for each in seen:
        living.keep(living.weigh(window(each.at_s - START_S - 2.0, each.vector, "site@2")).lesson, hold=False)
    living.learn_waiting()
    for each in ordinary(20, seed=5):
        asked = window(20_000.0, each.vector, "site@2")
        (one,), (other,) = adopting.weigh(asked).channels, living.weigh(asked).channels
        assert one.raw == other.raw
        assert one.p == pytest.approx(other.p, abs=0.05)  # when it was learned differs by a window


def test_ordinary_windows_are_not_rare_under_an_adopted_model() -> None:
    memory = Memory({"site": CHANNEL})
    adopted(memory, ordinary(1200), "site@2")
    found = [evidence[0].p for evidence in live(memory, "site@2", range(600), seed=5)]
    assert np.mean(np.array(found) <= 0.1) < 0.15
    assert np.mean(np.array(found) <= 0.01) < 0.03


def test_windows_of_one_burst_do_not_judge_each_other() -> None:
    """Footage comes in bursts of a window a second: a moment must not look ordinary because of itself."""
    seen = [
        Seen(at_s=START_S + 60.0 * burst + second, vector=vector)
        for burst, vector in enumerate(np.random.default_rng(2).normal(size=(200, DIM)).astype(np.float32))
        for second in range(4)
    ]
    history = AdvanceHistory(CHANNEL, model="site@2", dim=DIM)
    found = [history.push(each) for each in seen]
    assert found[:MIN_SCORES] == [None] * MIN_SCORES
    by_place = np.array(found[-400:], np.float64).reshape(-1, 4)
    assert np.allclose(by_place, by_place[:, :1])


def test_what_operators_said_counts_for_the_new_model_too() -> None:
    strange = np.full(DIM, 6.0, np.float32)
    false = Seen(at_s=START_S + 3000.0, vector=strange, alert_id="cam:1", verdict="false_alarm")
    true = Seen(at_s=START_S + 3001.0, vector=-strange, alert_id="cam:2", verdict="true")
    memory = Memory({"site": CHANNEL})
    assert adopted(memory, [*ordinary(400), false, true], "site@2")
    (absorbed,) = memory.weigh(window(9000, strange, "site@2")).channels
    confirmed = memory.weigh(window(9001, -strange, "site@2"))
    assert absorbed.p > 0.05
    assert confirmed.bonus > 0.0
    memory.take_back("cam:2")  # without a case of its own the event stays as it is
    assert memory.weigh(window(9002, -strange, "site@2")).bonus > 0.0


def test_learning_on_live_keeps_what_waits_for_its_model() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(SETTLED - 20))
    adopted(memory, ordinary(100), "site@2")
    live(memory, "site@1", range(SETTLED, SETTLED + 60))
    assert rows(memory) == {"site@1", "site@2"}


def test_adopting_again_keeps_whichever_knows_more_and_never_drops_the_model_in_use() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(100))
    assert adopted(memory, ordinary(200), "site@2")
    assert not adopted(memory, ordinary(150), "site@2")
    assert adopted(memory, ordinary(300), "site@2")
    assert adopted(memory, ordinary(50), "site@3")  # the swap to 2 never came
    assert rows(memory) == {"site@1", "site@3"}
    assert len(rows(memory)) <= MAX_MODELS


def test_after_the_switch_the_way_back_keeps_its_memory() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(300))
    adopted(memory, ordinary(200), "site@2")
    live(memory, "site@2", range(400, 500))
    assert not adopted(memory, ordinary(100), "site@1")  # it knows more by itself
    (evidence,) = memory.weigh(window(600, ordinary(1)[0].vector, "site@1")).channels
    assert evidence.model == "site@1"


def test_what_waits_survives_a_restart() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(SETTLED - 20))
    adopted(memory, ordinary(200), "site@2")
    record, arrays = memory.state()
    again = Memory({"site": CHANNEL})
    again.load(json.loads(json.dumps(record)), arrays)
    live(again, "site@1", range(SETTLED, SETTLED + 60))
    assert rows(again) == {"site@1", "site@2"}
    vector = ordinary(1, seed=4)[0].vector
    assert again.weigh(window(9000, vector, "site@2")).channels == memory.weigh(window(9000, vector, "site@2")).channels


def test_a_memory_from_before_there_were_adoptions_is_read() -> None:
    memory = Memory({"site": CHANNEL})
    live(memory, "site@1", range(50))
    record, arrays = memory.state()
    del record["adopted"]
    again = Memory({"site": CHANNEL})
    again.load(record, arrays)
    assert rows(again) == {"site@1"}


@pytest.mark.parametrize("key", [("other", "other@1", DIM, ""), ("site", "site@2", DIM + 1, "")])
def test_what_does_not_belong_here_is_not_adopted(key: Key) -> None:
    memory = Memory({"site": CHANNEL})
    state = learned_in_advance(CHANNEL, ordinary(100), model="site@2", dim=DIM).state
    if key[0] == "other":
        assert not memory.adopt(key, state)
    else:
        with pytest.raises(ValueError, match="9"):
            memory.adopt(key, state)
    assert rows(memory) == set()
