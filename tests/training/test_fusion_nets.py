from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmstream.errors import ConfigError
from mmstream.evaluation.metrics import auc
from mmstream.training.audiovisual import rendered_stretches
from mmstream.training.fusion_nets import FUSION_NETS, FusionNet, dropped
from mmstream.training.fusion_training import FusionRecipe, TrainedFusion, train_fusion

DIMS = {"picture": 12, "sound": 7, "words": 5}


def make_net(name: str, *, num_classes: int = 0) -> FusionNet:
    torch.manual_seed(0)
    return FUSION_NETS[name](DIMS, width=16, num_classes=num_classes).eval()


def make_vectors(seed: int = 0, num: int = 3) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(num, 4, dim, generator=random) for name, dim in DIMS.items()}


def everything(num: int = 3) -> torch.Tensor:
    return torch.ones(num, 4, len(DIMS), dtype=torch.bool)


@pytest.mark.parametrize("name", FUSION_NETS)
class TestFusionNets:
    def test_every_window_gets_a_logit_and_one_per_class(self, name: str) -> None:
        judged = make_net(name, num_classes=5)(make_vectors(), everything())
        assert judged.anomaly.shape == (3, 4)
        assert judged.classes is not None
        assert judged.classes.shape == (3, 4, 5)
        assert judged.joint is not None
        assert judged.joint.shape == (3, 4, 16)
        assert make_net(name)(make_vectors(), everything()).classes is None

    def test_what_an_absent_modality_holds_changes_nothing(self, name: str) -> None:
        net, present, vectors = make_net(name), everything(), make_vectors()
        present[..., 1] = False
        spoiled = {**vectors, "sound": torch.full_like(vectors["sound"], float("nan"))}
        assert torch.equal(net(vectors, present).anomaly, net(spoiled, present).anomaly)

    def test_whether_a_modality_is_there_is_known(self, name: str) -> None:
        net, vectors, present = make_net(name), make_vectors(), everything()
        without = present.clone()
        without[..., 1] = False
        assert not torch.allclose(net(vectors, present).anomaly, net(vectors, without).anomaly)

    def test_with_nothing_there_it_still_answers_with_numbers(self, name: str) -> None:
        judged = make_net(name)(make_vectors(), torch.zeros_like(everything()))
        assert bool(judged.anomaly.isfinite().all())

    def test_gradients_reach_every_parameter_and_are_finite(self, name: str) -> None:
        net, present = make_net(name, num_classes=3), everything()
        present[0, :, 0] = False
        judged = net(make_vectors(), present)
        assert judged.classes is not None
        total = judged.anomaly.sum() + judged.classes.square().sum()
        total += sum((answered - wanted).square().sum() for wanted, answered in judged.rebuilt.values())
        total.backward()
        for parameter_name, parameter in net.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert bool(parameter.grad.isfinite().all()), parameter_name

    def test_stretches_do_not_hear_each_other(self, name: str) -> None:
        net, vectors = make_net(name), make_vectors()
        alone = net({key: rows[:1] for key, rows in vectors.items()}, everything(1)).anomaly
        torch.testing.assert_close(net(vectors, everything()).anomaly[:1], alone)


def test_only_the_linear_one_judges_each_modality_without_regard_to_the_others() -> None:
    first, second = make_vectors(0), make_vectors(1)

    def mixed(net: FusionNet, picture: dict[str, torch.Tensor], sound: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            vectors = {"picture": picture["picture"], "sound": sound["sound"], "words": first["words"]}
            logits: torch.Tensor = net(vectors, everything()).anomaly
            return logits

    apart = {}
    for name in FUSION_NETS:
        net = make_net(name)
        straight = mixed(net, first, first) + mixed(net, second, second)
        crossed = mixed(net, first, second) + mixed(net, second, first)
        apart[name] = float((straight - crossed).abs().max())
    assert apart.pop("linear") < 1e-5
    assert min(apart.values()) > 1e-4


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width that 4 divides, got 18"):
        FUSION_NETS["bottleneck"](DIMS, width=18)


def test_modality_dropout_takes_away_whole_stretches_and_never_everything() -> None:
    present = torch.ones(2000, 4, 3, dtype=torch.bool)
    present[:100, :, 2] = False
    kept = dropped(present, 0.5, torch.Generator().manual_seed(0))
    assert bool((kept <= present).all())
    assert bool(kept.any(dim=2).all())
    assert torch.equal(kept.all(dim=1), kept.any(dim=1))
    assert 0.5 < float(kept[100:].float().mean()) < 0.65


def test_training_learns_stops_and_gives_the_same_again() -> None:
    train, validation = rendered_stretches(400, cameras=range(8), seed=1), rendered_stretches(80, cameras=[9], seed=2)
    recipe = FusionRecipe(method="gated", width=16, num_epochs=6, patience=6)
    trained, again = (train_fusion(train, validation, recipe) for _ in range(2))
    assert trained.losses == again.losses
    test = rendered_stretches(150, cameras=range(100, 104), seed=3, missing_share=0.0)
    loud = (test.classes == 0) | (test.classes == 2)
    assert auc(trained.scores(test)[loud].astype(float), test.classes[loud] == 2) > 0.8


@pytest.mark.parametrize("objective", ["bag", "ranking"])
def test_labels_of_whole_stretches_are_enough_to_find_the_loud_windows(objective: str) -> None:
    train, validation = rendered_stretches(500, cameras=range(8), seed=1), rendered_stretches(80, cameras=[9], seed=2)
    recipe = FusionRecipe(width=16, num_epochs=8, patience=8, objective=objective)  # type: ignore[arg-type]
    test = rendered_stretches(150, cameras=range(100, 104), seed=3, missing_share=0.0)
    loud = (test.classes == 0) | (test.classes == 2)
    scores = train_fusion(train, validation, recipe).scores(test)
    assert auc(scores[loud].astype(float), test.classes[loud] == 2) > 0.75


def test_a_teacher_helps_where_the_labels_of_its_own_say_nothing() -> None:
    train, validation = rendered_stretches(500, cameras=range(8), seed=1), rendered_stretches(80, cameras=[9], seed=2)
    teacher = train_fusion(train, validation, FusionRecipe(width=16, num_epochs=6, batch=32))
    shuffled = replace(train, labels=np.random.default_rng(0).permutation(train.labels))
    small = FusionRecipe(width=8, num_epochs=6, patience=6, batch=32)
    test = rendered_stretches(150, cameras=range(100, 104), seed=3, missing_share=0.0)
    loud = (test.classes == 0) | (test.classes == 2)

    def area(taught_by: TrainedFusion | None) -> float:
        scores = train_fusion(shuffled, validation, small, teacher=taught_by).scores(test)
        return auc(scores[loud].astype(float), test.classes[loud] == 2)

    assert area(teacher) > area(None) + 0.15


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    some = rendered_stretches(4, cameras=[1], seed=0)
    with pytest.raises(ConfigError, match="gated"):
        train_fusion(some, some, FusionRecipe(method="magic"))
