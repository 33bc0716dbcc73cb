"""A night trains, tries, judges and promotes what it can, says what it cannot, and ends when it is told to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mmstream.config import TrainingSection
from mmstream.errors import ConfigError, StageError, StoreError
from mmstream.training.corpus import Corpus
from mmstream.training.loop import Epoch, FitSettings, Fitted
from mmstream.training.night import Entry, Night, NightReport, Progress, fit_here, kinds_of
from mmstream.training.promote import Trial
from mmstream.training.rates import Blocks
from mmstream.training.registry import Registry
from mmstream.training.trainee import Trainee
from tests.training.made_up import make_corpus
from tests.training.small_kind import SmallKind, SmallNet

TRIAL = Trial(
    found={f"event-{number}": number % 2 == 0 for number in range(40)},
    confirmed={},
    absorbed={},
    num_alerts=2,
    blocks=(Blocks(rank=6, num_calibrated=120, num_new=60),),
    window_s=0.002,
    memory_bytes=1000,
)
BETTER = dataclasses.replace(TRIAL, found=dict.fromkeys(TRIAL.found, True))
WORSE = dataclasses.replace(TRIAL, found=dict.fromkeys(TRIAL.found, False))


class TriedKind(SmallKind):
    """Trials are given instead of run."""

    def __init__(self, *, new: Sequence[Trial] = (BETTER,), old: Trial = TRIAL, **given: Any) -> None:
        super().__init__(**given)
        self.new, self.old = list(new), old

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        del subject, corpus
        self.trials.append("without" if files is None else files.name)
        if files is None or files.name == "old":
            return self.old
        return self.new.pop(0) if len(self.new) > 1 else self.new[0]


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus(("gate",), num_train=30, num_held_out=10)


def fitted_as(net: SmallNet) -> Callable[[str, Trainee, FitSettings, Callable[[Epoch], None]], Fitted]:
    def fit_with(_: str, trainee: Trainee, settings: FitSettings, on_epoch: Callable[[Epoch], None]) -> Fitted:
        del trainee
        figures = {"train/loss": 0.3, "validation/loss": 0.2, "validation/nan": float("nan")}
        on_epoch(Epoch(number=1, of=settings.epochs, figures=figures, is_best=True))
        return Fitted(module=net, best_epoch=1, history=(figures,), num_skipped=0, stopped="")

    return fit_with


def make_night(folder: Path, kind: SmallKind, **changes: Any) -> Night:
    registry = Registry(folder)
    clock = iter(range(1000, 2000))

    def promote(subject: str, version: str, reason: str) -> None:
        registry.promote(subject, version, reason=reason, at_s=1.0)

    given: dict[str, Any] = {
        "registry": registry,
        "kinds": [kind],
        "promote": promote,
        "fit_with": fitted_as(SmallNet()),
        "now": lambda: float(next(clock)),
    }
    return Night(**{**given, **changes})


def only(report: NightReport) -> Entry:
    (entry,) = report.entries
    return entry


def test_a_better_model_is_promoted_with_all_that_it_came_from(corpus: Corpus, tmp_path: Path) -> None:
    told: list[Progress] = []
    night = make_night(tmp_path, TriedKind(), options={"small": {"epochs": 7, "seed": 3}}, on_progress=told.append)
    report = night.run(corpus)
    entry = only(report)
    assert (entry.kind, entry.subject, entry.outcome, entry.parent) == ("small", "small", "promoted", "")
    current = night.registry.current("small")
    assert current is not None
    assert (current.version, current.reason) == (entry.version, entry.sentence)
    assert "100% of 40 events" in entry.sentence
    lineage = current.lineage
    assert (lineage.from_s, lineage.to_s, lineage.feeds) == (corpus.from_s, corpus.split_s, ("gate",))
    assert lineage.num_windows == 30 * 4
    assert (lineage.settings["epochs"], lineage.settings["seed"]) == (7, 3)
    assert lineage.metrics == {"loss": 0.2, "train/loss": 0.3}
    assert [one.phase for one in told] == ["fitting", "fitting", "trying", "deciding", "done"]
    assert told[1].epoch is not None
    assert told[1].epoch.of == 7
    assert (report.started_s, report.cancelled) == (1000.0, False)
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["entries"][0]["figures"] == {"loss": 0.2, "nan": None, "train/loss": 0.3}
    assert plain["entries"][0]["ruling"]["conditions"][0]["name"] == "recall"
    assert plain["sentence"] == "small: promoted."


def test_the_next_night_starts_from_the_version_in_use_and_compares_with_it(corpus: Corpus, tmp_path: Path) -> None:
    make_night(tmp_path, TriedKind()).run(corpus)
    clock = iter(range(3000, 4000))
    kind = TriedKind(new=[WORSE])
    night = make_night(tmp_path, kind, now=lambda: float(next(clock)))
    before = night.registry.current("small")
    entry = only(night.run(corpus))
    assert before is not None
    assert (entry.outcome, entry.parent) == ("refused", before.version)
    assert "0% of 40 events" in entry.sentence
    assert night.registry.current("small") == before
    refused = night.registry.version("small", entry.version)
    assert (refused.state, refused.reason, refused.lineage.parent) == ("refused", entry.sentence, before.version)
    assert kind.trials == ["old", "new"]


def test_a_first_version_is_not_refused_for_costing_more_than_nothing(corpus: Corpus, tmp_path: Path) -> None:
    nothing = dataclasses.replace(TRIAL, window_s=0.0, memory_bytes=0)
    kind = TriedKind(old=nothing)
    entry = only(make_night(tmp_path, kind).run(corpus))
    assert entry.outcome == "promoted"
    assert entry.sentence.startswith("None was in use")
    assert kind.trials == ["without", "new"]


def test_a_model_that_only_seemed_slow_is_measured_once_more(corpus: Corpus, tmp_path: Path) -> None:
    make_night(tmp_path, TriedKind()).run(corpus)
    disturbed = dataclasses.replace(BETTER, window_s=0.005)
    seemed = make_night(tmp_path, TriedKind(new=[disturbed, BETTER]), now=lambda: 5000.0)
    assert only(seemed.run(corpus)).outcome == "promoted"
    slow = make_night(tmp_path, TriedKind(new=[disturbed]), now=lambda: 6000.0)
    entry = only(slow.run(corpus))
    assert (entry.outcome, "s a window" in entry.sentence) == ("refused", True)


def test_with_promotion_switched_off_it_waits_with_what_the_gate_said(corpus: Corpus, tmp_path: Path) -> None:
    night = make_night(tmp_path, TriedKind(), promote=None)
    entry = only(night.run(corpus))
    assert entry.outcome == "waiting"
    version = night.registry.version("small", entry.version)
    assert (version.state, version.reason) == ("candidate", entry.sentence)
    assert night.registry.current("small") is None


def test_what_goes_wrong_with_one_model_stops_no_other(corpus: Corpus, tmp_path: Path) -> None:
    class Broken(TriedKind):
        def trainee(self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None) -> Any:
            if subject == "c":
                raise ConfigError("training.options.small: there is no 'depth'")
            if subject == "d":
                raise RuntimeError("shapes  do not\nmatch")
            return super().trainee(subject, corpus, options, parent=parent)

    class Bare(TriedKind):
        def subjects(self, corpus: Corpus) -> Sequence[str]:
            del corpus
            raise StageError("the footage cannot be read; look at the disk")

    wild = SmallNet()
    with torch.no_grad():
        wild.encode.weight[0, 0] = float("nan")
    sound, unsound = fitted_as(SmallNet()), fitted_as(wild)
    night = make_night(
        tmp_path,
        Broken(names=("a", "b", "c", "d", "e"), failing=("a",)),
        fit_with=lambda subject, *rest: (unsound if subject == "b" else sound)(subject, *rest),
    )
    night = dataclasses.replace(night, kinds=[Bare(), *night.kinds])
    report = night.run(corpus)
    assert [(entry.subject, entry.outcome) for entry in report.entries] == [
        ("small", "failed"),
        ("a", "failed"),
        ("b", "failed"),
        ("c", "failed"),
        ("d", "failed"),
        ("e", "promoted"),
    ]
    sentences = [entry.sentence for entry in report.entries]
    assert "cannot be read" in sentences[0]
    assert "record more footage" in sentences[1]
    assert "encode.weight is not finite" in sentences[2]
    assert "'depth'" in sentences[3]
    assert sentences[4] == "RuntimeError: shapes do not match"
    assert night.registry.names() == ["e"]


def test_a_swap_that_fails_leaves_the_old_version_in_use(corpus: Corpus, tmp_path: Path) -> None:
    make_night(tmp_path, TriedKind()).run(corpus)

    def promote(*_: str) -> None:
        raise StoreError("two replicas did not take the model; look at their logs")

    night = make_night(tmp_path, TriedKind(), promote=promote, now=lambda: 5000.0)
    before = night.registry.current("small")
    entry = only(night.run(corpus))
    assert entry.outcome == "failed"
    assert "could not be put to use: two replicas" in entry.sentence
    assert night.registry.current("small") == before
    assert night.registry.version("small", entry.version).state == "candidate"


def test_it_can_be_cancelled_between_steps_and_promotes_nothing_then(corpus: Corpus, tmp_path: Path) -> None:
    for num_answers, num_entries in ((0, 0), (1, 1), (2, 1), (3, 1)):
        answers = iter([False] * num_answers)
        night = make_night(
            tmp_path / str(num_answers),
            TriedKind(names=("small", "other")),
            should_stop=lambda answers=answers: next(answers, True),
        )
        report = night.run(corpus)
        assert report.cancelled
        assert [entry.outcome for entry in report.entries] == ["cancelled"] * num_entries
        assert night.registry.current("small") is None
        assert "ancelled" in report.sentence


def test_only_what_was_asked_for_is_trained_and_nothing_where_there_is_too_little(
    corpus: Corpus, tmp_path: Path
) -> None:
    night = make_night(tmp_path, TriedKind(names=("small", "other")))
    assert [entry.subject for entry in night.run(corpus, subjects=["other"]).entries] == ["other"]
    scarce = make_night(tmp_path, TriedKind(least_bursts=1000)).run(corpus)
    assert scarce.entries == ()
    assert scarce.sentence.startswith(f"There was too little to learn from, {scarce.num_bursts} bursts of footage; let")
    assert scarce.num_bursts > 0


def test_old_versions_go(corpus: Corpus, tmp_path: Path) -> None:
    for day in range(14):
        kind = TriedKind(new=[WORSE if day else BETTER])
        make_night(tmp_path, kind, now=lambda day=day: 1e5 * (day + 1)).run(corpus)
    versions = Registry(tmp_path).versions("small")
    assert len(versions) <= 12
    assert [version.state for version in versions].count("current") == 1


def test_a_whole_night_in_one_process(tmp_path: Path) -> None:
    """The real loop, the real trial, the real gate; a model of pictures that is new to the site."""
    corpus = make_corpus(("gate",), num_train=60, num_held_out=24)
    night = make_night(
        tmp_path, SmallKind(), fit_with=fit_here, options={"small": {"epochs": 2, "learning_rate": 3e-3}}
    )
    entry = only(night.run(corpus))
    assert entry.outcome in ("promoted", "refused"), entry.sentence
    assert len(entry.epochs) == 2
    assert entry.figures["loss"] == pytest.approx(min(epoch["validation/loss"] for epoch in entry.epochs))
    assert entry.old is not None
    assert entry.new is not None
    assert entry.old.found.keys() == entry.new.found.keys()
    json.dumps(entry.to_json(), allow_nan=False)


def test_the_kinds_are_found_by_name() -> None:
    assert {kind.name for kind in kinds_of(TrainingSection().models)} == {"expectation", "site"}
    with pytest.raises(ConfigError, match="expectation"):
        kinds_of(["nonsense"])
