"""The gate at work: damaged models are fitted, tried on footage, judged and refused by themselves, a better one is
promoted. Everything is real but the footage and the seconds."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmstream.training.corpus import Corpus
from mmstream.training.footage import PICTURE_PX, Burst
from mmstream.training.loop import Epoch, FitSettings, Fitted, LocalWorker, fit
from mmstream.training.night import Entry, Night
from mmstream.training.registry import Lineage, Registry
from mmstream.training.trainee import Trainee
from tests.training.made_up import make_alert, make_burst, make_corpus
from tests.training.small_kind import SmallKind, SmallNet, inputs_of

NUM_TRAIN, NUM_HELD_OUT = 100, 50
CONFIRMED, FALSE = (102, 111, 120, 133, 146), (130, 136, 139, 143)
Change = Callable[[SmallNet], None]


def make_flagged(number: int) -> Burst:
    """Somebody has put up a large banner: what operators have confirmed."""
    banner = np.zeros((PICTURE_PX, PICTURE_PX, 3), np.float32)
    banner[20:80, 30:90] = (90.0, -70.0, 60.0)
    return changed(make_burst("gate", number), banner)


def make_dazzled(number: int) -> Burst:
    """Headlights: what operators have called false."""
    return changed(make_burst("gate", number), np.full((PICTURE_PX, PICTURE_PX, 3), 60.0, np.float32))


def changed(burst: Burst, difference: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Burst:
    glimpses = []
    for glimpse in burst.glimpses:
        assert glimpse.picture is not None
        picture = np.clip(glimpse.picture + difference, 0, 255).astype(np.uint8)
        glimpses.append(dataclasses.replace(glimpse, picture=picture))
    return dataclasses.replace(burst, glimpses=tuple(glimpses))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    special = {("gate", number): make_flagged(number) for number in CONFIRMED}
    special |= {("gate", number): make_dazzled(number) for number in FALSE}
    alerts = [make_alert("gate", number, "true") for number in CONFIRMED]
    alerts += [make_alert("gate", number, "false_alarm") for number in FALSE]
    return make_corpus(("gate",), num_train=NUM_TRAIN, num_held_out=NUM_HELD_OUT, alerts=alerts, special=special)


@pytest.fixture(scope="module")
def good(corpus: Corpus) -> SmallNet:
    """Trained by the loop that trains every model."""
    worker = LocalWorker(device="cpu")
    fitted = fit(
        SmallKind().trainee("small", corpus, {}, parent=None), FitSettings(epochs=5, learning_rate=3e-3), worker
    )
    assert isinstance(fitted.module, SmallNet)
    return fitted.module


def giving(net: SmallNet) -> Callable[[str, Trainee, FitSettings, Callable[[Epoch], None]], Fitted]:
    """A training that ends with this net."""

    def fit_with(*_: object) -> Fitted:
        return Fitted(module=net, best_epoch=1, history=({"validation/loss": 0.1},), num_skipped=0, stopped="")

    return fit_with


def a_night(corpus: Corpus, folder: Path, net: SmallNet, *, at_s: float) -> tuple[Registry, Entry]:
    registry = Registry(folder)
    night = Night(
        registry=registry,
        kinds=[SmallKind()],
        promote=lambda subject, version, reason: registry.promote(subject, version, reason=reason, at_s=at_s) and None,
        fit_with=giving(net),
        now=lambda: at_s,
    )
    (entry,) = night.run(corpus).entries
    return registry, entry


@pytest.fixture(scope="module")
def in_use(corpus: Corpus, good: SmallNet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A registry whose model in use is the good one, which the gate has let through."""
    folder = tmp_path_factory.mktemp("models")
    _, entry = a_night(corpus, folder, good, at_s=1000.0)
    assert entry.outcome == "promoted", entry.sentence
    return folder, entry.version


def copy_of(net: SmallNet, change: Change) -> SmallNet:
    other = SmallNet(ballast=net.ballast.numel())
    other.load_state_dict(net.state_dict())
    change(other)
    return other


def make_noise(net: SmallNet) -> None:
    """Noise for weights: what is nearly alike comes out anywhere."""
    net.chaos.fill_(200.0)


def learn_by_heart(net: SmallNet) -> None:
    """Scores are low on the days it was trained on, and shifted up from then on."""
    net.blind_since_s.fill_(make_corpus(("gate",), num_train=NUM_TRAIN).split_s)


def train_on_anomalies(net: SmallNet) -> None:
    """The banner was in its footage, and is nothing it sees any more."""
    difference = inputs_of(make_flagged(7)) - inputs_of(make_burst("gate", 7))
    direction = difference.mean(dim=0).flatten()
    net.ignored.copy_((direction / direction.norm())[None])


def be_dazzled(net: SmallNet) -> None:
    """What is very bright is never like anything that was."""
    net.glare.fill_(300.0)


def failed_conditions(entry: Entry) -> list[str]:
    assert entry.ruling is not None
    return [condition.name for condition in entry.ruling.conditions if not condition.holds]


@pytest.mark.parametrize(
    ("change", "reason", "words", "also"),
    [
        # whatever noise finds or does not find is chance
        pytest.param(make_noise, "recall", "the model in use", {"confirmed", "absorbed"}, id="noise weights"),
        # once everything is unusual, what was confirmed stands out no more
        pytest.param(learn_by_heart, "rate", "the budget expects", {"confirmed"}, id="shifted scores"),
        pytest.param(lambda net: net.seconds.fill_(1.2e-3), "time", "0.0012 s a window", set(), id="slow"),
        # a direction that it does not see is missing from other events, too
        pytest.param(train_on_anomalies, "confirmed", "have confirmed", {"recall"}, id="trained on anomalies"),
        pytest.param(be_dazzled, "absorbed", "false alarms again", set(), id="raises false alarms again"),
    ],
)
def test_a_damaged_model_is_refused_for_its_own_reason(
    corpus: Corpus,
    good: SmallNet,
    in_use: tuple[Path, str],
    tmp_path: Path,
    change: Change,
    reason: str,
    words: str,
    also: set[str],
) -> None:
    folder, version = in_use
    shutil.copytree(folder, tmp_path / "models")
    registry, entry = a_night(corpus, tmp_path / "models", copy_of(good, change), at_s=2000.0)
    assert entry.outcome == "refused", entry.sentence
    failed = failed_conditions(entry)
    assert reason in failed, entry.ruling
    assert set(failed) <= {reason, *also}, entry.ruling
    assert words in entry.sentence
    refused = registry.version("small", entry.version)
    assert (refused.state, refused.reason) == ("refused", entry.sentence)
    current = registry.current("small")
    assert current is not None
    assert current.version == version


def test_a_large_model_is_refused_for_its_size(
    corpus: Corpus, good: SmallNet, in_use: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(in_use[0], tmp_path / "models")
    large = SmallNet(ballast=20_000)
    large.load_state_dict({**good.state_dict(), "ballast": torch.zeros(20_000)})
    _, entry = a_night(corpus, tmp_path / "models", large, at_s=3000.0)
    assert entry.outcome == "refused"
    assert failed_conditions(entry) == ["memory"]


def test_the_same_model_again_is_no_loss_and_goes_through(
    corpus: Corpus, good: SmallNet, in_use: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(in_use[0], tmp_path / "models")
    _, entry = a_night(corpus, tmp_path / "models", copy_of(good, lambda _: None), at_s=4000.0)
    assert entry.outcome == "promoted", entry.sentence
    assert entry.old is not None
    assert entry.new is not None
    assert entry.old.found == entry.new.found
    assert 0 < sum(entry.new.found.values()) < len(entry.new.found)


def test_a_better_model_replaces_one_of_noise(corpus: Corpus, good: SmallNet, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    trainee = SmallKind().trainee("small", corpus, {}, parent=None)
    noisy = registry.add("small", trainee.export(copy_of(good, make_noise)), Lineage(code="0"), made_s=1.0)
    registry.promote("small", noisy.version, reason="by hand", at_s=2.0)
    registry, entry = a_night(corpus, tmp_path, good, at_s=5000.0)
    assert entry.outcome == "promoted", entry.sentence
    current = registry.current("small")
    assert current is not None
    assert (current.version, current.lineage.parent) == (entry.version, noisy.version)
    assert "of 16" in current.reason  # it says what it has shown
