"""Encoding more inputs than fit into memory at once: in parts, and the right size is found by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.errors import StageError
from mmstream.types import Float32

GROW_AFTER = 200
"""Passes in a row that fitted until twice as many inputs are tried again: memory may only have been lent out."""


class Fitting:
    """An encoder's ``encode`` that halves what is too much, as often as needed, and remembers what was not.

    >>> def encode(inputs):
    ...     if len(inputs) > 3:
    ...         raise MemoryError
    ...     return inputs.astype(np.float32)
    >>> fitting = Fitting(encode)
    >>> fitting(np.arange(8)[:, None]).ravel().tolist(), fitting.num_out_of_memory, fitting.most_inputs
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 2, 2)
    """

    def __init__(self, encode: Callable[[npt.NDArray[Any]], Float32]) -> None:
        self._encode = encode
        self._num_in_a_row = 0
        self.most_inputs: int | None = None
        """So many are encoded in one pass; None while everything fitted."""
        self.num_out_of_memory = 0

    def __call__(self, inputs: npt.NDArray[Any]) -> Float32:
        """(N, ...) -> (N, dim), in order.

        Raises:
            StageError: not even one input fits.
        """
        parts: list[Float32] = []
        done = 0
        while not parts or done < len(inputs):
            part = inputs[done : done + (self.most_inputs or len(inputs))]
            try:
                parts.append(self._encode(part))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(part))
            else:
                done += len(part)
                self._note_success()
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _halve(self, num_inputs: int) -> None:
        self.num_out_of_memory += 1
        self._num_in_a_row = 0
        if num_inputs <= 1:
            raise StageError("not even one input fits into memory; use a smaller model or another device") from None
        self.most_inputs = num_inputs // 2

    def _note_success(self) -> None:
        self._num_in_a_row += 1
        if self.most_inputs is not None and self._num_in_a_row > GROW_AFTER:
            self.most_inputs, self._num_in_a_row = 2 * self.most_inputs, 0


def is_out_of_memory(error: BaseException) -> bool:
    """torch says it in several ways; asked by name, so that nobody loads torch for the question."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
        or "out of memory" in str(error)
    )
