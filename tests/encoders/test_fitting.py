"""What does not fit into memory at once is encoded in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmstream.encoders import fitting
from mmstream.encoders.fitting import Fitting, is_out_of_memory
from mmstream.errors import StageError
from mmstream.types import Float32


class Device:
    """Has memory for ``room`` inputs."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.passes: list[int] = []

    def encode(self, inputs: npt.NDArray[Any]) -> Float32:
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.passes.append(len(inputs))
        return inputs.astype(np.float32)[:, None] * 2


@given(num=st.integers(0, 70), room=st.integers(1, 80))
def test_every_input_is_answered_in_order_whatever_the_memory(num: int, room: int) -> None:
    device = Device(room)
    encode = Fitting(device.encode)
    inputs = np.arange(num)
    np.testing.assert_array_equal(encode(inputs), inputs[:, None] * 2)
    assert max(device.passes) <= room
    assert (encode.num_out_of_memory == 0) == (num <= room)


def test_the_size_that_fitted_is_remembered_and_a_larger_one_tried_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "GROW_AFTER", 4)
    device = Device(3)
    encode = Fitting(device.encode)
    encode(np.arange(4))
    assert (encode.num_out_of_memory, encode.most_inputs) == (1, 2)
    encode(np.arange(4))
    assert encode.num_out_of_memory == 1, "not tried at once again"
    device.room = 100
    for _ in range(4):
        encode(np.arange(4))
    assert device.passes[-1] == 4
    assert encode.num_out_of_memory == 1


def test_one_input_that_does_not_fit_is_an_error_with_a_cure() -> None:
    encode = Fitting(Device(0).encode)
    with pytest.raises(StageError, match="smaller model"):
        encode(np.arange(4))


def test_another_error_of_the_model_is_not_taken_for_a_lack_of_memory() -> None:
    def broken(_: npt.NDArray[Any]) -> Float32:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    encode = Fitting(broken)
    with pytest.raises(RuntimeError, match="mat1"):
        encode(np.arange(4))
    assert encode.num_out_of_memory == 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried ..."),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_all_the_ways_of_saying_it_are_known(error: Exception) -> None:
    assert is_out_of_memory(error)
