"""The networks themselves, what is done to what they are given, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.encoders.site_net import DIM, PictureNet, SmallNet, SoundNet
from mmstream.training.augment import Augmentation, augmented_mels, augmented_pictures
from mmstream.training.site_nets import SiteNet, together


def make_inputs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 112, 112, 3), dtype=torch.uint8, generator=random)
    return pictures, torch.randn(count, 64, 96, generator=random) * 3 - 12


@pytest.mark.parametrize("net", [PictureNet(), SoundNet()], ids=["picture", "sound"])
def test_they_are_small_and_folded_they_say_the_same(net: SmallNet) -> None:
    assert sum(parameter.numel() for parameter in net.parameters()) < 1_000_000
    inputs = make_inputs(6)[isinstance(net, SoundNet)]
    net.train()
    for _ in range(3):
        net(inputs)  # statistics that are not those of the start
    net.eval()
    with torch.inference_mode():
        vectors, folded = net(inputs), net.fused()(inputs)
    assert vectors.shape == (6, DIM)
    torch.testing.assert_close(folded, vectors, rtol=1e-3, atol=1e-3)


def test_they_see_where_something_is_and_hear_how_high() -> None:
    pictures = torch.full((2, 112, 112, 3), 90, dtype=torch.uint8)
    pictures[0, 20:34, 10:20], pictures[1, 20:34, 74:84] = 220, 220  # 64 px apart: the same for means over the picture
    mels = torch.full((2, 64, 96), -14.0)
    mels[0, 8:12], mels[1, 40:44] = -5.0, -5.0
    for net, inputs in ((PictureNet(), pictures), (SoundNet(), mels)):
        with torch.inference_mode():
            one, other = net.train()(inputs)
        assert float((one - other).abs().mean()) > 0.1


def test_what_is_not_there_is_not_looked_at() -> None:
    torch.manual_seed(0)
    net = SiteNet()
    pictures, mels = make_inputs(6)
    has = torch.tensor([[True, True], [True, False], [False, True]] * 2)
    told = torch.ones_like(has)
    seen = net.eval()(pictures, mels, has, told)
    assert not seen.picture[2].any()
    assert not seen.sound[1].any()
    nonsense = torch.where(has[:, 0, None, None, None], pictures, 255 - pictures)
    noise = torch.where(has[:, 1, None, None], mels, mels * 1e6)
    again = net(nonsense, noise, has, told)
    assert torch.equal(seen.next_picture, again.next_picture)
    net.train()(nonsense, noise, has, told)
    assert float(net.sound.norm.running_var.abs().max()) < 1e3  # type: ignore[operator]


def test_the_prediction_is_not_told_what_is_kept_from_it() -> None:
    net = SiteNet().eval()
    pictures, mels = make_inputs(2)
    has = torch.ones(2, 2, dtype=torch.bool)
    told = torch.tensor([[True, False], [True, False]])
    kept = net(pictures, mels, has, told)
    torch.testing.assert_close(kept.next_sound, net(pictures, mels + 3, has, told).next_sound)
    assert not torch.allclose(kept.next_sound, net(pictures, mels, has, has).next_sound)


def test_every_weight_has_a_gradient_even_where_nothing_is_heard() -> None:
    net = SiteNet(teacher_dim=16)
    pictures, mels = make_inputs(4)
    has = torch.tensor([[True, False]] * 4)
    seen = net(pictures, mels, has, has)
    sum(value.sum() for value in seen.tensors().values()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert not any(parameter.grad.any() for parameter in net.sound.parameters() if parameter.grad is not None)


def test_parts_are_put_together_in_order() -> None:
    net = SiteNet().eval()
    pictures, mels = make_inputs(5)
    has = torch.ones(5, 2, dtype=torch.bool)
    with torch.inference_mode():
        whole = net(pictures, mels, has, has)
        parts = [net(*(each[rows] for each in (pictures, mels, has, has))) for rows in (slice(0, 2), slice(2, 5))]
    joined = together(parts)
    assert joined.taught is None
    torch.testing.assert_close(joined.aligned_sound, whole.aligned_sound, rtol=1e-4, atol=1e-4)


# --- augmentation ------------------------------------------------------------------------------------------

NONE = Augmentation(
    shift=0.0, light=0.0, contrast=0.0, blurred=0.0, loudness=0.0, masked_bands=0, masked_frames=0, roll_frames=0
)


def make_bursts(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, mels = make_inputs(6, seed)
    smooth = pictures.float().mean(dim=(1, 2), keepdim=True).expand(pictures.shape).to(torch.uint8)
    return smooth.reshape(3, 2, 112, 112, 3).clone(), mels.reshape(3, 2, 64, 96)


def test_without_any_nothing_is_changed() -> None:
    pictures, mels = make_bursts()
    random = np.random.default_rng(0)
    assert torch.equal(augmented_pictures(pictures, NONE, random), pictures)
    assert torch.equal(augmented_mels(mels, NONE, random), mels)


@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_windows_of_a_burst_are_changed_alike_and_bursts_apart(seed: int) -> None:
    pictures, _ = make_bursts(seed)
    pictures[:, 1] = pictures[:, 0]
    pictures[:, :, 30:60, 30:60] = 230
    changed = augmented_pictures(pictures, Augmentation(), np.random.default_rng(seed))
    assert (changed.shape, changed.dtype) == (pictures.shape, pictures.dtype)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert not torch.equal(changed[0], pictures[0])
    again = augmented_pictures(pictures, Augmentation(), np.random.default_rng(seed))
    assert torch.equal(changed, again)


def test_nothing_is_mirrored_unless_it_is_asked_for() -> None:
    pictures = torch.zeros(40, 1, 112, 112, 3, dtype=torch.uint8)
    pictures[:, :, :, :20] = 200
    still = Augmentation(light=0.0, contrast=0.0, blurred=0.0)

    def left(of: Augmentation) -> torch.Tensor:
        maps = augmented_pictures(pictures, of, np.random.default_rng(1)).float()
        return maps[:, 0, :, :56].mean(dim=(1, 2, 3)) > maps[:, 0, :, 56:].mean(dim=(1, 2, 3))

    assert left(still).all()
    mirrored = Augmentation(light=0.0, contrast=0.0, blurred=0.0, flip=True)
    assert 8 <= int(left(mirrored).sum()) <= 32


def test_a_masked_sound_keeps_its_mean_and_its_other_bands() -> None:
    _, mels = make_bursts()
    masked = Augmentation(loudness=0.0, roll_frames=0, masked_bands=8, masked_frames=12)
    changed = augmented_mels(mels, masked, np.random.default_rng(4))
    same = (changed == mels).float().mean(dim=(2, 3))
    assert float(same.min()) >= (56 * 84) / (64 * 96) - 1e-6
    assert float(same.min()) < 1.0
    means = mels.mean(dim=(2, 3), keepdim=True).expand(mels.shape)
    assert torch.equal(changed[changed != mels], means[changed != mels])
