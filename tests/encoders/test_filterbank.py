from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.encoders.filterbank import FilterBankEncoder, pick_device, pick_dtype
from mmstream.errors import ConfigError
from mmstream.stages import ReplicaEncoder
from mmstream.types import Float32, UInt8

HEIGHT_PX, WIDTH_PX = 96, 160


@pytest.fixture(scope="module")
def encoder() -> FilterBankEncoder:
    return FilterBankEncoder(device="cpu")


def make_stripes(angle_deg: float, *, period_px: float = 12.0, contrast: float = 40.0, level: float = 110.0) -> UInt8:
    """A whole picture of stripes whose brightness changes along ``angle_deg``."""
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    along = columns * np.cos(np.deg2rad(angle_deg)) + rows * np.sin(np.deg2rad(angle_deg))
    return np.asarray(level + contrast * np.sin(2 * np.pi * along / period_px), np.uint8)


def make_pictures(num: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (num, HEIGHT_PX, WIDTH_PX), dtype=np.uint8)


def one(encoder: FilterBankEncoder, picture: UInt8) -> Float32:
    return encoder.encode(picture[None])[0]


def distance(a: Float32, b: Float32) -> float:
    return float(np.linalg.norm(a - b))


def test_it_offers_what_a_replica_encoder_must(encoder: FilterBankEncoder):
    assert isinstance(encoder, ReplicaEncoder)
    vectors = encoder.encode(make_pictures(3))
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert encoder.encode(make_pictures(0)).shape == (0, encoder.dim)


def test_turning_the_stripes_matters_far_more_than_the_light(encoder: FilterBankEncoder):
    upright = one(encoder, make_stripes(0))
    turned = distance(upright, one(encoder, make_stripes(45)))
    brighter = distance(upright, one(encoder, make_stripes(0, level=160)))
    more_contrast = distance(upright, one(encoder, make_stripes(0, contrast=80)))
    assert turned > 50 * brighter
    assert turned > 10 * more_contrast


@pytest.mark.parametrize("bin_index", range(8))
def test_stripes_fall_into_the_bin_of_their_direction(encoder: FilterBankEncoder, bin_index: int):
    vector = one(encoder, make_stripes(bin_index * 22.5))
    means = vector[: encoder.dim // 2].reshape(8, 4, 5)
    assert (means.argmax(axis=0) == bin_index).all()


def test_the_bins_are_the_cos4_soft_histogram_that_the_docstring_promises(encoder: FilterBankEncoder):
    angle_deg = 30.0
    vector = one(encoder, make_stripes(angle_deg, period_px=16.0))
    centres_deg = np.arange(8) * 22.5
    expected = np.cos(np.deg2rad(angle_deg - centres_deg)) ** 4
    middle = vector[: encoder.dim // 2].reshape(8, 4, 5)[:, 1:3, 1:4].mean(axis=(1, 2)) ** 2
    np.testing.assert_allclose(middle / middle.sum(), expected / expected.sum(), atol=0.02)


def test_a_small_new_object_changes_its_own_block_and_the_maximum_more_than_the_mean(encoder: FilterBankEncoder):
    street = make_stripes(0, contrast=10)
    with_person = street.copy()
    with_person[40:56, 70:76] = 250
    change = np.abs(one(encoder, with_person) - one(encoder, street)).reshape(2, 8, 4, 5).max(axis=1)
    assert np.unravel_index(change[0].argmax(), (4, 5)) in {(1, 2), (2, 2)}
    assert change[1].max() > 1.5 * change[0].max()


def test_sensor_noise_on_a_flat_wall_is_not_blown_up(encoder: FilterBankEncoder):
    wall = np.full((HEIGHT_PX, WIDTH_PX), 120, np.uint8)
    noisy = wall + np.random.default_rng(0).integers(0, 2, wall.shape, dtype=np.uint8)
    upright = one(encoder, make_stripes(0))
    assert distance(one(encoder, noisy), one(encoder, wall)) < 0.4 * distance(upright, one(encoder, make_stripes(45)))


@settings(max_examples=15, deadline=None)
@given(num=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_a_row_does_not_depend_on_its_neighbours_in_the_batch(num: int, seed: int):
    encoder = FilterBankEncoder(device="cpu")
    pictures = make_pictures(num, seed)
    together = encoder.encode(pictures)
    alone = np.concatenate([encoder.encode(picture[None]) for picture in pictures])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(together, encoder.encode(pictures))


def test_read_only_pictures_as_ray_gives_them_are_taken_without_a_warning(encoder: FilterBankEncoder):
    pictures = make_pictures(2)
    pictures.flags.writeable = False
    assert encoder.encode(pictures).shape == (2, encoder.dim)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(np.zeros((1, 90, 160), np.uint8), id="height"),
        pytest.param(np.zeros((96, 160), np.uint8), id="no batch"),
        pytest.param(np.zeros((1, 96, 160, 3), np.uint8), id="colour"),
        pytest.param(np.zeros((1, 96, 160), np.float32), id="float"),
    ],
)
def test_other_shapes_and_types_are_refused(encoder: FilterBankEncoder, wrong: UInt8):
    with pytest.raises(ValueError, match=r"want uint8 \(N, 96, 160\)"):
        encoder.encode(wrong)


def test_bf16_stays_close_to_fp32():
    pictures = np.stack([make_stripes(angle) for angle in (0, 30, 75)])
    exact = FilterBankEncoder(device="cpu", precision="fp32").encode(pictures)
    rough = FilterBankEncoder(device="cpu", precision="bf16").encode(pictures)
    assert np.abs(exact - rough).max() < 0.05 * exact.max()


def test_a_wrong_device_or_precision_names_what_is_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="choose auto, cpu or cuda"):
        pick_device("tpu")
    with pytest.raises(ConfigError, match="finds no GPU"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match="choose auto, fp32 or bf16"):
        pick_dtype("fp8", torch.device("cpu"))


@pytest.mark.parametrize(("has_amx", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_on_a_cpu_is_bf16_only_with_matrix_units(
    monkeypatch: pytest.MonkeyPatch, has_amx: bool, expected: torch.dtype
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert pick_dtype("auto", torch.device("cpu")) is expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_vectors(encoder: FilterBankEncoder):
    pictures = make_pictures(9)
    np.testing.assert_allclose(FilterBankEncoder(device="cuda").encode(pictures), encoder.encode(pictures), atol=1e-3)
