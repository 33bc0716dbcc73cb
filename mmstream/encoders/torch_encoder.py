"""What every encoder around a torch model does: check what comes, run the model, give unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmstream.encoders.batching import blank, check_inputs
from mmstream.encoders.filterbank import pick_device
from mmstream.encoders.fitting import is_out_of_memory
from mmstream.encoders.pretrained import unit_rows
from mmstream.encoders.slimming import Slimming
from mmstream.errors import ConfigError
from mmstream.types import Float32, InputSpec


class TorchEncoder:
    """A model on a device. Vectors have length 1: distances between them are cosine distances."""

    wants: InputSpec
    model: str
    dim: int

    def __init__(self, *, wants: InputSpec, model: str, device: str, slimming: Slimming) -> None:
        self._device = pick_device(device)
        self._dtype = slimming.dtype(self._device)
        self._slimming = slimming
        self.wants, self.model = wants, model + slimming.suffix

    def _warm_up(self) -> None:
        """One input through the model: finds `dim`, and whatever does not fit together.

        Raises:
            ConfigError: the model cannot take what it is said to want, or not on this machine.
        """
        try:
            self.dim = self.encode(blank(self.wants)).shape[1]
            if self._slimming.compile:  # a batch of one is compiled apart from those of several
                self.encode(blank(self.wants, 2))
        except (RuntimeError, ValueError, TypeError, MemoryError, IndexError) as error:
            if is_out_of_memory(error):
                raise ConfigError(f"{self.model} does not fit into memory; use a smaller model") from error
            why = " ".join(str(error).split())[:300]
            if self._slimming.compile:
                raise ConfigError(f"{self.model} cannot be compiled here, leave compile out: {why}") from error
            raise ConfigError(f"{self.model} cannot take {self._named()}: {why}") from error

    def encode(self, inputs: npt.NDArray[Any]) -> Float32:
        """(N, *wants.shape) -> (N, dim), rows of length 1.

        Raises:
            ValueError: not what `wants` says.
        """
        check_inputs(inputs, self.wants)
        if not len(inputs):
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            rows = unit_rows(self._features(self._evened(inputs)))[: len(inputs)]
            return np.asarray(rows.cpu().numpy(), np.float32)

    def _evened(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """On a GPU a compiled model records a graph for every size of batch it meets."""
        has_graphs = self._slimming.compile and self._device.type == "cuda"
        return padded_to_power_of_two(inputs) if has_graphs else inputs

    def _features(self, inputs: npt.NDArray[Any]) -> torch.Tensor:
        """(N, *wants.shape) -> (N, ...) of any length."""
        raise NotImplementedError

    def _named(self) -> str:
        return f"{self.wants.dtype} inputs of shape {self.wants.shape}"


def padded_to_power_of_two(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(N, ...) -> (M, ...) with M the next power of two, the last input repeated.

    >>> padded_to_power_of_two(np.arange(5)).tolist(), padded_to_power_of_two(np.arange(4)).tolist()
    ([0, 1, 2, 3, 4, 4, 4, 4], [0, 1, 2, 3])
    """
    short = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    return np.concatenate([inputs, np.repeat(inputs[-1:], short, axis=0)]) if short else inputs
