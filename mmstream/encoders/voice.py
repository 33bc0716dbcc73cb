"""Is anybody speaking? Silero's small network (MIT), computed in NumPy; its weights come in the wheel of silero-vad.

The network (of silero-vad 6, for 16 kHz) looks at 32 ms at a time and the 4 ms before: magnitudes of four short
Fourier transforms, four convolutions, one LSTM cell, one number. All but the LSTM is computed for many pieces at once,
which takes about 1 ms per second of sound; a native runtime called piece by piece took 23 (docs/benchmarks.md).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmstream.errors import ConfigError
from mmstream.types import Float32

RATE_HZ = 16_000
PIECE = 512
"""Samples per probability: 32 ms."""
PIECE_S = PIECE / RATE_HZ
_CONTEXT = 64
_TRANSFORM, _STEP = 256, 128
_BANDS = _TRANSFORM // 2 + 1
_AT_ONCE = 64
"""Pieces: what they make stays in the processor's cache."""
_SILENCE = 1e-4
"""Below -80 dB of full scale at its loudest, nobody is to be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Where in a piece of sound somebody speaks."""

    share: float
    """0..1 of the time."""
    segments: tuple[tuple[float, float], ...]
    """[start_s, end_s) from the start of the sound, in order, apart from each other."""


class VoiceActivity:
    """Finds speech in sound of any length. Remembers nothing between two calls.

    Speech begins where the probability reaches ``threshold``, ends where it stays under ``threshold - 0.15`` for
    ``gap_s``, is dropped when shorter than ``least_s``, and gets ``margin_s`` on both sides.

    Raises:
        ConfigError: the weights are not installed.

    >>> VoiceActivity().listen(np.zeros(32_000, np.float32))
    Voice(share=0.0, segments=())
    """

    def __init__(
        self, *, threshold: float = 0.5, gap_s: float = 0.3, least_s: float = 0.25, margin_s: float = 0.1
    ) -> None:
        if not 0.15 < threshold < 1:
            raise ConfigError(f"the threshold of voice activity must be between 0.15 and 1, got {threshold}")
        self._threshold, self._gap_s, self._least_s, self._margin_s = threshold, gap_s, least_s, margin_s
        self._network = _Network(_weights())

    def listen(self, samples: Float32) -> Voice:
        """``samples``: mono at 16 kHz, (n,), in [-1, 1]."""
        duration_s = len(samples) / RATE_HZ
        found = self._joined(self.probabilities(samples))
        margin_s = self._margin_s
        edges = [(max(0.0, start_s - margin_s), min(duration_s, end_s + margin_s)) for start_s, end_s in found]
        segments: list[tuple[float, float]] = []
        for start_s, end_s in edges:
            if segments and start_s <= segments[-1][1]:
                segments[-1] = (segments[-1][0], end_s)
            else:
                segments.append((start_s, end_s))
        spoken_s = sum(end_s - start_s for start_s, end_s in segments)
        return Voice(share=min(1.0, spoken_s / duration_s) if segments else 0.0, segments=tuple(segments))

    def probabilities(self, samples: Float32) -> Float32:
        """One per started 32 ms of ``samples``, (ceil(n / 512),)."""
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"want float32 (n,) at {RATE_HZ} Hz, got {samples.dtype} {samples.shape}")
        num_pieces = -(-len(samples) // PIECE)
        if not num_pieces or max(samples.max(), -samples.min()) < _SILENCE:
            return np.zeros(num_pieces, np.float32)
        return self._network(samples if np.isfinite(samples).all() else np.clip(np.nan_to_num(samples), -1, 1))

    def _joined(self, probabilities: Float32) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        start: int | None = None
        last = 0
        for piece, probability in enumerate(probabilities.tolist()):
            if probability >= self._threshold:
                start = piece if start is None else start
            if start is not None and probability >= self._threshold - 0.15:
                last = piece
            elif start is not None and (piece - last) * PIECE_S >= self._gap_s:
                found.append((start * PIECE_S, (last + 1) * PIECE_S))
                start = None
        if start is not None:
            found.append((start * PIECE_S, (last + 1) * PIECE_S))
        return [(start_s, end_s) for start_s, end_s in found if end_s - start_s >= self._least_s]


class _Network:
    """Names of weights are those of the wheel's safetensors file. Gates of the LSTM: input, forget, cell, output."""

    def __init__(self, weights: dict[str, Float32]) -> None:
        self._waves = weights["stft_conv.weight"][:, 0].T.copy()  # a product is twice as fast as an FFT of this size
        taps = {name: weights[f"{name}.weight"].transpose(2, 1, 0) for name in ("conv1", "conv2", "conv3", "conv4")}
        self._biases = [weights[f"{name}.bias"] for name in taps]
        self._first = taps["conv1"].reshape(-1, 128).copy()
        self._second = taps["conv2"].reshape(-1, 64).copy()
        self._third = taps["conv3"][1:].reshape(-1, 64).copy()  # its first tap falls on the padding
        self._fourth = taps["conv4"][1].copy()  # so do the first and the last of this one
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: halved beforehand, one tanh serves all four gates
        halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), 128)
        self._into = (weights["lstm_cell.weight_ih"] * halves[:, None]).T.copy()
        self._bias = (weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]) * halves
        self._again = (weights["lstm_cell.weight_hh"] * halves[:, None]).copy()
        self._last = weights["final_conv.weight"][0, :, 0]
        self._last_bias = float(weights["final_conv.bias"][0])

    def __call__(self, samples: Float32) -> Float32:
        pieces = _pieces(samples)
        looks = [self._look(pieces[first : first + _AT_ONCE]) for first in range(0, len(pieces), _AT_ONCE)]
        states = self._remember(np.concatenate(looks))
        return np.asarray(1 / (1 + np.exp(-(np.maximum(states, 0) @ self._last + self._last_bias))), np.float32)

    def _look(self, pieces: Float32) -> Float32:
        """(n, 576) -> (n, 128): what each piece sounds like by itself."""
        num = len(pieces)
        mirrored = np.concatenate([pieces, pieces[:, -2 : -_CONTEXT - 2 : -1]], axis=1)
        short = np.lib.stride_tricks.sliding_window_view(mirrored, _TRANSFORM, axis=1)[:, ::_STEP]
        squares = (short.reshape(-1, _TRANSFORM) @ self._waves) ** 2
        spectra = np.zeros((num, 6, _BANDS), np.float32)  # a zero before and after the four
        np.sqrt((squares[:, :_BANDS] + squares[:, _BANDS:]).reshape(num, 4, _BANDS), out=spectra[:, 1:5])
        first = np.zeros((num, 6, 128), np.float32)
        wide = np.concatenate([spectra[:, 0:4], spectra[:, 1:5], spectra[:, 2:6]], axis=2)
        first[:, 1:5] = _layer(wide.reshape(4 * num, -1), self._first, self._biases[0]).reshape(num, 4, -1)
        wide = np.stack([first[:, 0:3].reshape(num, -1), first[:, 2:5].reshape(num, -1)], axis=1)
        second = _layer(wide.reshape(2 * num, -1), self._second, self._biases[1])
        third = _layer(second.reshape(num, -1), self._third, self._biases[2])
        return _layer(third, self._fourth, self._biases[3])

    def _remember(self, looks: Float32) -> Float32:
        """-> (pieces, 128): the LSTM's output after each piece."""
        inputs = looks @ self._into + self._bias
        states, state, cell = (
            np.zeros((len(inputs), 128), np.float32),
            np.zeros(128, np.float32),
            np.zeros(128, np.float32),
        )
        gates = np.zeros(512, np.float32)
        opened, kept, candidate, shown = gates.reshape(4, 128)
        for piece, given in enumerate(inputs):  # in place: making arrays took half of the time
            np.dot(self._again, state, out=gates)
            np.tanh(np.add(gates, given, out=gates), out=gates)
            cell *= np.add(kept, 1, out=kept)
            cell += np.multiply(np.add(opened, 1, out=opened), candidate, out=candidate)
            cell *= 0.5
            state = np.tanh(cell, out=states[piece])
            state *= np.multiply(np.add(shown, 1, out=shown), 0.5, out=shown)
        return states


def _layer(inputs: Float32, weights: Float32, bias: Float32) -> Float32:
    """As one product of two matrices: NumPy makes one of each piece where there are three axes."""
    return np.asarray(np.maximum(inputs @ weights + bias, 0), np.float32)


def _pieces(samples: Float32) -> Float32:
    """-> (n, 576), views: each piece after the end of the one before; silence around the whole."""
    num = -(-len(samples) // PIECE)
    padded = np.zeros(_CONTEXT + num * PIECE, np.float32)
    padded[_CONTEXT : _CONTEXT + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + PIECE)[::PIECE]


def _weights() -> dict[str, Float32]:
    """Read from the installed package without importing it: it would bring torch and its own runtimes."""
    found = importlib.util.find_spec("silero_vad")
    places = list(found.submodule_search_locations or ()) if found else []
    try:
        from safetensors.numpy import load_file

        return dict(load_file(Path(places[0], "data", "silero_vad_16k.safetensors")))
    except (ImportError, IndexError, OSError) as error:
        raise ConfigError(
            "speech is found with silero-vad, which is not installed; pip install 'mmstream[models]'"
        ) from error
