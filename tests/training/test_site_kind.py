"""The site's own networks: what they learn from bursts alone, and what a night is given."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from mmstream.encoders.filterbank import FilterBankEncoder
from mmstream.encoders.site import SitePictureEncoder, SiteSoundEncoder
from mmstream.encoders.site_net import told_by
from mmstream.errors import ConfigError, StageError
from mmstream.stages import load
from mmstream.training import site_trainee
from mmstream.training.corpus import Corpus
from mmstream.training.footage import Burst
from mmstream.training.loop import FitSettings, LocalWorker, fit
from mmstream.training.site import SUBJECT, SiteKind
from mmstream.training.site_figures import retrieval
from mmstream.training.site_trainee import WEIGHTS, SiteTrainee
from mmstream.training.sizing import sized
from mmstream.training.stock import NEIGHBOURS, Stock, drawn, evenly
from mmstream.training.teacher import Teacher
from mmstream.training.trainee import KINDS
from tests.training.passing import NUM_KINDS, make_corpus, passings

FEEDS = ("gate", "yard")
SMALL: dict[str, Any] = {"batch": 16, "least_bursts": 8}


def trainee_of(corpus: Corpus, *, parent: Path | None = None, **options: Any) -> SiteTrainee:
    return SiteKind().trainee(SUBJECT, corpus, {**SMALL, **options}, parent=parent)


def write(files: Any, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that saw two cameras."""
    torch.set_num_threads(1)
    trainee = trainee_of(make_corpus(FEEDS, 100))
    fitted = fit(trainee, FitSettings(epochs=2, learning_rate=3e-3, patience=0), LocalWorker(device="cpu"))
    return write(trainee.export(fitted.module), tmp_path_factory.mktemp("version"))


def test_it_finds_the_sound_of_a_picture_among_those_of_bursts_it_never_saw(learned: Path) -> None:
    """By chance it would be one in 60; the kind alone tells one in seven or eight of them."""
    trainee = trainee_of(make_corpus(("gate",), 10), parent=learned)
    found, count = 0, 0
    for feed_id in FEEDS:
        bursts = passings(feed_id, 60, held_out=True)
        pictures, mels = (torch.from_numpy(second(bursts, of)) for of in ("picture", "mel"))
        has = torch.ones(len(bursts), 2, dtype=torch.bool)
        with torch.inference_mode():
            seen = trainee.module().eval()(pictures, mels, has, has)
        alike = nn.functional.normalize(seen.aligned_picture) @ nn.functional.normalize(seen.aligned_sound).T
        found += int((alike.argmax(dim=1) == torch.arange(len(bursts))).sum())
        count += len(bursts)
    assert binomtest(found, count, 1 / 60).proportion_ci(0.999).low > 3 / 60


def test_what_it_says_of_one_camera_varies_and_tells_kinds_apart(learned: Path) -> None:
    """Nearest neighbours among other bursts of the same camera, by the vectors that the site will use."""
    for encoder, of in (
        (SitePictureEncoder(weights=str(learned / WEIGHTS), device="cpu"), "picture"),
        (SiteSoundEncoder(weights=str(learned / WEIGHTS), device="cpu"), "mel"),
    ):
        bursts = passings("yard", 80, held_out=True)
        inputs = second(bursts, of)
        vectors = encoder.encode(inputs) if isinstance(encoder, SitePictureEncoder) else encoder.encode_mels(inputs)
        kinds = np.array([kind_of(burst) for burst in bursts])
        alike = vectors @ vectors.T - 2 * np.eye(len(vectors))
        right = int((kinds[alike.argmax(axis=1)] == kinds).sum())
        by_chance = float(np.square(np.bincount(kinds, minlength=NUM_KINDS) / len(kinds)).sum())
        assert binomtest(right, len(kinds), by_chance).proportion_ci(0.999).low > 2 * by_chance
        spread = vectors.std(axis=0) * np.sqrt(vectors.shape[1])
        assert np.median(spread) > 0.2  # 1 would be as far as vectors of length 1 go


def second(bursts: Sequence[Burst], of: str) -> Any:
    """The ``picture`` or ``mel`` of each burst's second window."""
    return np.stack([getattr(burst.glimpses[1], of) for burst in bursts])


def kind_of(burst: Any) -> int:
    return int((burst.glimpses[1].mel.mean(axis=1).argmax() - 4) // 7)


def test_a_version_is_one_file_that_says_what_is_in_it(learned: Path) -> None:
    told = told_by((learned / WEIGHTS).read_bytes())
    assert told["format"] == "site@1"
    assert told["parts"] == "picture,sound"
    assert told["mel"] == "64x96 ln power"
    assert told["bursts"] == "200"


def test_the_next_night_goes_on_from_the_version_in_use(learned: Path) -> None:
    corpus = make_corpus(FEEDS, 40)
    anew, on = trainee_of(corpus), trainee_of(corpus, parent=learned)
    started, goes_on = anew.module().state_dict(), on.module().state_dict()
    assert not torch.equal(started["picture.out.weight"], goes_on["picture.out.weight"])
    assert anew.validate(anew.module().eval())["loss"] > on.validate(on.module().eval())["loss"]


def test_cameras_without_sound_teach_the_picture_network_alone(tmp_path: Path) -> None:
    trainee = trainee_of(make_corpus(FEEDS, 20, mute=FEEDS))
    module = trainee.module().train()
    step = trainee.step(module, next(trainee.batches(epoch=0, rank=0, world_size=1)))
    assert set(step.parts) == {"prediction", "spread"}
    step.loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in module.parameters())  # or other workers wait for ever
    folder = write(trainee.export(module), tmp_path)
    assert told_by((folder / WEIGHTS).read_bytes())["parts"] == "picture"
    with pytest.raises(ConfigError, match="holds no sound network"):
        SiteSoundEncoder(weights=str(folder / WEIGHTS))
    mixed = trainee_of(make_corpus(FEEDS, 20, mute=FEEDS[:1]))
    figures = mixed.validate(mixed.module().eval())
    assert all(np.isfinite(value) for value in figures.values())
    assert {"found", "foreseen_sound", "deviation_picture"} <= set(figures)


def test_a_large_encoder_can_teach_it() -> None:
    trainee = trainee_of(make_corpus(FEEDS, 20), teacher="filterbank", alignment=0.0, prediction=0.0, spread=0.0)
    module = trainee.module().train()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    given = []
    for batch in trainee.batches(epoch=0, rank=0, world_size=1):
        step = trainee.step(module, batch)
        given.append(step.parts["distillation"])
        optimizer.zero_grad()
        step.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if len(given) == 16:
            break
    assert given[-1] < 0.8 * given[0]
    with pytest.raises(ConfigError, match="the teacher 'vision' is not among the site's encoders"):
        trainee_of(make_corpus(FEEDS, 20), teacher="vision")


def test_the_teacher_is_asked_once_about_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    encode = FilterBankEncoder.encode

    def counting(self: FilterBankEncoder, pictures: Any) -> Any:
        asked.append(len(pictures))
        return encode(self, pictures)

    monkeypatch.setattr(FilterBankEncoder, "encode", counting)
    stock = Stock.of(make_corpus(("gate",), 5), most=10)
    teacher = Teacher("filterbank", {})
    rows, windows = np.array([[0], [1]]), np.array([[0, 1], [1, 2]])
    first = teacher.vectors(stock.pictures, rows, windows)
    again = teacher.vectors(stock.pictures, rows, windows)
    assert first.shape == (2, 2, teacher.dim)
    assert first.tobytes() == again.tobytes()
    assert sum(asked) == 4
    alone = encode(FilterBankEncoder(device="cpu"), sized(stock.pictures[1, 2][None], teacher.encoder.wants))
    np.testing.assert_allclose(first[1, 1], alone[0], rtol=2e-3, atol=2e-3)


def test_workers_get_as_many_batches_of_their_own_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_trainee, "LEAST_BATCHES", 7)
    trainee = trainee_of(make_corpus(FEEDS, 40))

    def of(rank: int, world_size: int, epoch: int = 0) -> list[tuple[int, ...]]:
        batches = trainee.batches(epoch=epoch, rank=rank, world_size=world_size)
        return [tuple(batch["burst"][: len(batch["burst"]) // 2].tolist()) for batch in batches]

    one, other, both = of(0, 2), of(1, 2), of(0, 1)
    assert len(one) == len(other) == -(-len(both) // 2)
    assert one == both[0::2]
    assert other[: len(both) // 2] == both[1::2]
    assert of(0, 2) == one
    assert of(0, 2, epoch=1) != one


def test_bursts_of_one_camera_stand_together_in_a_batch() -> None:
    stock = Stock.of(make_corpus(FEEDS, 40), most=1000)
    rows, aside = stock.split(0.1)
    assert sorted([*rows, *aside]) == list(range(80))
    assert aside.tolist() == [36, 37, 38, 39, 76, 77, 78, 79]  # the newest of each
    batches = list(drawn(stock, rows, batch=16, random=np.random.default_rng(0)))
    assert sorted(np.concatenate(batches)) == rows.tolist()
    for batch in batches[:-1]:
        assert max(np.bincount(stock.feeds[batch])) >= NEIGHBOURS - 1


def test_of_cameras_with_one_burst_each_some_are_set_aside() -> None:
    rows, aside = Stock.of(make_corpus(tuple(f"cam-{n}" for n in range(12)), 1), most=100).split(0.1)
    assert (len(rows), len(aside)) == (11, 1)


def test_much_footage_is_thinned_evenly_over_feeds_and_time() -> None:
    stock = Stock.of(make_corpus(FEEDS, 40), most=20)
    assert np.bincount(stock.feeds).tolist() == [10, 10]
    bursts = passings("gate", 80)
    numbers = [round(burst.start_s / 60) for burst in evenly(bursts, 10)]
    assert len(numbers) == 10
    assert set(np.diff(numbers)) <= {7, 8, 9}


def test_a_site_that_has_seen_too_little_trains_nothing() -> None:
    few = make_corpus(("gate",), 30)
    assert SiteKind().subjects(few) == ()
    assert SiteKind().subjects(make_corpus(FEEDS, 100)) == ("site",)
    with pytest.raises(StageError, match="30 bursts are too few to train the site's networks on, want 200"):
        SiteKind().trainee(SUBJECT, few, {"epochs": 3}, parent=None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widht": 3}, "widht"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"batch": 8.5}, "batch must be a int"),
        ({"modality_dropout": 1.0}, "modality_dropout must be below 1"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trainee_of(make_corpus(("gate",), 10), **options)


def test_it_goes_to_a_worker_without_its_footage() -> None:
    trainee = trainee_of(make_corpus(FEEDS, 20), teacher="filterbank")
    sent = pickle.dumps(trainee)
    assert len(sent) < 100_000
    batch, same = (next(each.batches(epoch=2, rank=0, world_size=1)) for each in (trainee, pickle.loads(sent)))
    assert all(torch.equal(batch[name], same[name]) for name in batch)


def test_it_is_tried_against_the_site_without_it(learned: Path) -> None:
    kind = load(KINDS, "site")()
    corpus = make_corpus(("yard",), 40)
    without, with_it = kind.trial("site", None, corpus), kind.trial("site", learned, corpus)
    assert with_it.found.keys() == without.found.keys()
    assert len(with_it.found) > 20
    assert with_it.memory_bytes == (learned / WEIGHTS).stat().st_size
    assert with_it.window_s > 0


def test_retrieval_counts_only_other_bursts_of_the_same_camera() -> None:
    vectors = torch.eye(4)
    bursts, feeds = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1])
    assert retrieval(vectors, vectors, bursts, feeds) == {
        "found": 1.0,
        "by_chance": pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3),
    }
    swapped = vectors[[2, 1, 0, 3]]  # the sounds of two bursts
    assert retrieval(vectors, swapped, bursts, torch.zeros(4))["found"] == 0.5
    assert retrieval(vectors, vectors, torch.zeros(4), feeds) == {}
