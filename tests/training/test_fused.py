from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmstream.errors import ConfigError, StageError
from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.trained import MonotoneRule, TrainedFuser
from mmstream.storage.strip_rows import StripRows
from mmstream.training.corpus import Corpus
from mmstream.training.fused import FILE, FusionKind, FusionTrainee
from mmstream.training.fusion_examples import Examples, gather
from mmstream.training.loop import FitSettings, LocalWorker, fit
from mmstream.training.monotone import MonotoneNet
from mmstream.training.promote import judge
from mmstream.types import Alert, Float32, Verdict
from tests.training import made_up

ASPECTS = (("movement", "picture", 1.0), ("picture", "picture", 1.0), ("sound", "sound", 1.0))
BLOCK_S = 300.0
ALERT_S = 20.0
SETTINGS = FitSettings(epochs=15, learning_rate=0.02, weight_decay=0.0, patience=0, precision="fp32")


def make_alert(number: int, verdict: Verdict | None, feed_id: str = "yard") -> Alert:
    start_s = number * BLOCK_S + 100.0
    return Alert(
        alert_id=f"{feed_id}:{number}",
        feed_id=feed_id,
        start_s=start_s,
        end_s=start_s + ALERT_S,
        state="closed",
        severity="alert",
        surprise=4.0,
        peak_s=start_s,
        expected_every_s=86_400.0,
        shares={"sound": 1.0},
        verdict=verdict,
    )


class Strips:
    """The archive of a yard in which a dog barks: the sound is as rare as when somebody runs, and means nothing."""

    def __init__(self, verdicts: Sequence[Verdict | None], seed: int = 0) -> None:
        self._verdicts, self._seed = tuple(verdicts), seed

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> list[StripRows]:
        if feed_id != "yard":
            return []
        random = np.random.default_rng(self._seed)
        times_s, heights, counts = [], [], []
        for number, verdict in enumerate(self._verdicts):
            found = self._block(verdict, random)
            start_s = number * BLOCK_S
            first_s = start_s + np.concatenate([np.linspace(0, 80, len(found) - 8), np.linspace(101, 115, 8)])
            if not from_s <= start_s < to_s:
                continue
            times_s.append(np.stack([first_s, first_s + 2.0], axis=1))
            heights.append(found)
            counts.append(len(found))
        together = np.concatenate(times_s)
        return [
            StripRows(
                feed_id=feed_id,
                aspects=ASPECTS,
                starts_s=np.arange(len(counts)) * BLOCK_S,
                covered_s=np.full(len(counts), BLOCK_S),
                counts=np.array(counts),
                times_s=together,
                scores=np.zeros((len(together), 2)),
                heights=np.concatenate(heights),
            )
        ]

    def _block(self, verdict: Verdict | None, random: np.random.Generator) -> Float32:
        """Some ordinary windows, then eight in which something may happen."""
        found = random.exponential(0.4343, (20, 3)).astype(np.float32)
        if verdict == "true":
            found[-5:, 0] += random.uniform(1.5, 3.0)
        elif verdict == "false_alarm":
            found[-5:, 2] += random.uniform(2.5, 4.0)
        found[random.random(20) < 0.1, 2] = np.nan
        return found


def make_corpus(num_each: int = 40, *, seed: int = 0) -> Corpus:
    verdicts: list[Verdict | None] = []
    for _ in range(num_each):
        verdicts += ["true", "false_alarm", None, None]
    to_s = len(verdicts) * BLOCK_S
    alerts = [make_alert(number, verdict) for number, verdict in enumerate(verdicts) if verdict is not None]
    return Corpus(
        feeds=("yard", "hall"),
        from_s=0.0,
        split_s=to_s,
        to_s=to_s,
        read_bursts=lambda _feed, _from, _to: iter(()),
        read_strips=Strips(verdicts, seed),
        alerts=alerts,
    )


@pytest.fixture(scope="module")
def learned() -> tuple[MonotoneRule, Examples]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the fixture that does so for each test comes after this one
    trainee = FusionTrainee(make_corpus())
    fitted = fit(trainee, SETTINGS, LocalWorker(device="cpu"))
    torch.set_num_threads(num_threads)
    return MonotoneRule.from_bytes(trainee.export(fitted.module)[FILE]), trainee.examples


def tops(fuser: TrainedFuser | HarmonicMean, examples: Examples, bags: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([max(fuser.fuse(examples.evidence(row))[0] for row in bag) for bag in bags])


def auc_of(fuser: TrainedFuser | HarmonicMean, examples: Examples) -> float:
    true, false = tops(fuser, examples, examples.true), tops(fuser, examples, examples.false)
    return float((true[:, None] > false[None, :]).mean())


def test_what_operators_call_false_falls_below_what_they_call_true_on_alerts_never_learned_from(
    learned: tuple[MonotoneRule, Examples],
) -> None:
    rule, _ = learned
    later = gather(make_corpus(seed=1))
    assert auc_of(HarmonicMean(), later) < 0.2
    assert auc_of(TrainedFuser(rule=rule), later) > 0.9
    assert rule.factors["sound"] < rule.factors["movement"]


def test_as_many_ordinary_windows_reach_any_level_as_before_so_that_thresholds_hold(
    learned: tuple[MonotoneRule, Examples],
) -> None:
    rule, examples = learned
    fuser, harmonic = TrainedFuser(rule=rule), HarmonicMean()
    said = np.array([fuser.fuse(examples.evidence(row))[0] for row in examples.ordinary])
    usual = np.array([harmonic.fuse(examples.evidence(row))[0] for row in examples.ordinary])
    for share in (0.5, 0.9, 0.99):
        level = np.quantile(usual, share)
        assert abs(np.mean(said >= level) - np.mean(usual >= level)) < 0.01


def test_with_few_verdicts_it_stays_nearer_to_the_harmonic_mean_than_with_many() -> None:
    def apart(num_each: int) -> float:
        trainee = FusionTrainee(make_corpus(num_each))
        net = fit(trainee, replace(SETTINGS, epochs=6), LocalWorker(device="cpu")).module
        ordinary = trainee.examples.ordinary
        with torch.no_grad():
            return float((net(trainee._heights[ordinary]) - trainee._usual[ordinary]).square().mean())

    assert apart(20) < apart(150)


def test_the_rule_in_numpy_says_what_the_module_says() -> None:
    examples = gather(make_corpus())
    torch.manual_seed(1)
    net = MonotoneNet(examples.aspects)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
        said = net(torch.from_numpy(examples.heights[:200])).double().numpy()
    fuser = TrainedFuser(rule=net.rule(examples.aspects))
    ours = [fuser.fuse(examples.evidence(row))[0] for row in range(200)]
    np.testing.assert_allclose(ours, np.maximum(said, 0.0), atol=1e-4)


def test_before_any_training_the_module_is_the_harmonic_mean() -> None:
    examples = gather(make_corpus())
    usual = FusionTrainee(make_corpus())._usual[:100].numpy()
    theirs = [HarmonicMean().fuse(examples.evidence(row))[0] for row in range(100)]
    np.testing.assert_allclose(np.maximum(usual, 0.0), theirs, atol=1e-4)


def test_windows_of_alerts_nobody_judged_are_neither_ordinary_nor_judged() -> None:
    corpus = make_corpus()
    unsure = replace(corpus, alerts=[*corpus.alerts, make_alert(2, "unsure"), make_alert(3, None)])
    before, after = gather(corpus), gather(unsure)
    assert len(after.true) == len(before.true)
    assert len(after.ordinary) == len(before.ordinary) - 2 * 8


def test_verdicts_count_as_far_back_as_the_archive_goes_and_never_from_the_held_out_days() -> None:
    corpus = make_corpus(40)
    half_s = corpus.to_s / 2
    old = [alert for alert in corpus.alerts if alert.start_s < half_s]
    new = [alert for alert in corpus.alerts if alert.start_s >= half_s]
    shorter = replace(corpus, from_s=half_s, alerts=new, earlier=old)
    assert [len(bags) for bags in (gather(shorter).true, gather(shorter).false)] == [40, 40]
    assert len(gather(shorter).ordinary) < len(gather(corpus).ordinary)
    held_out = replace(corpus, split_s=half_s)
    assert FusionKind().subjects(held_out) == ("fusion",)
    assert len(gather(held_out).true) == 20


def test_with_fewer_than_twenty_of_a_sort_nothing_is_trained_and_the_sentence_says_so() -> None:
    corpus = make_corpus(19)
    assert FusionKind().subjects(corpus) == ()
    assert FusionKind().subjects(make_corpus(20)) == ("fusion",)
    with pytest.raises(StageError, match="20 alerts called true"):
        FusionKind().trainee("fusion", corpus, {}, parent=None)


def test_an_alert_whose_windows_the_archive_has_dropped_does_not_count() -> None:
    corpus = replace(make_corpus(20), read_strips=lambda _feed, _from, _to: [])
    with pytest.raises(StageError, match="the archive has kept"):
        FusionKind().trainee("fusion", corpus, {}, parent=None)


def test_options_that_it_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.options\.fusion"):
        FusionKind().trainee("fusion", make_corpus(), {"hidden": 3}, parent=None)
    with pytest.raises(ConfigError, match="no fusion rule"):
        FusionKind().trainee("fusion.yard", make_corpus(), {}, parent=None)


def test_a_trainee_pickles_and_gives_the_same_batches_again() -> None:
    corpus = replace(make_corpus(), read_bursts=_nothing)
    trainee = FusionKind().trainee("fusion", corpus, {"epochs": 3, "seed": 5}, parent=None)
    again = pickle.loads(pickle.dumps(trainee))
    ours, theirs = (next(iter(one.batches(epoch=2, rank=1, world_size=2))) for one in (trainee, again))
    assert torch.equal(ours["heights"].nan_to_num(), theirs["heights"].nan_to_num())
    other = next(iter(trainee.batches(epoch=3, rank=1, world_size=2)))
    assert not torch.equal(ours["heights"].nan_to_num(), other["heights"].nan_to_num())


def test_two_workers_share_an_epoch_evenly() -> None:
    trainee = FusionTrainee(make_corpus())
    counts = [sum(1 for _ in trainee.batches(epoch=0, rank=rank, world_size=2)) for rank in (0, 1)]
    assert counts == [15, 15]


def _nothing(_feed: str, _from_s: float, _to_s: float):
    return iter(())


# --- the gate --------------------------------------------------------------------------------------------


def rule_file(folder: Path, rule: MonotoneRule) -> Path:
    (folder / FILE).write_bytes(rule.to_bytes())
    return folder


def test_a_rule_is_tried_on_held_out_footage_against_the_harmonic_mean(
    tmp_path: Path, learned: tuple[MonotoneRule, Examples]
) -> None:
    corpus = made_up.make_corpus(("gate",), alerts=[made_up.make_alert("gate", 20, "true")])
    old = FusionKind().trial("fusion", None, corpus)
    same = FusionKind().trial("fusion", rule_file(tmp_path, MonotoneRule()), corpus)
    assert (same.found, same.confirmed, same.num_alerts) == (old.found, old.confirmed, old.num_alerts)
    assert 0 < sum(old.found.values()) < len(old.found)
    new = FusionKind().trial("fusion", rule_file(tmp_path, learned[0]), corpus)
    assert new.found.keys() == old.found.keys()


def test_a_rule_that_no_longer_listens_is_refused_for_what_it_misses(tmp_path: Path) -> None:
    """Weights down, slopes down: sound that is heard by nobody any more."""
    corpus = made_up.make_corpus(("gate", "yard"))
    deaf = MonotoneRule(
        factors={"sound": 1e-9, "movement": 1e-9, "picture": 1.0}, slopes={"sound": 1e-3, "movement": 1e-3}
    )
    old, new = (FusionKind().trial("fusion", files, corpus) for files in (None, rule_file(tmp_path, deaf)))
    ruling = judge(replace(old, window_s=new.window_s, memory_bytes=new.memory_bytes), new)
    assert [condition.name for condition in ruling.conditions if not condition.holds][:1] == ["recall"]
