"""Log-mel spectrograms as CLAP and AST were trained on them, for a whole batch of sounds at once.

What the folder's own feature extractor computes sound by sound in NumPy is computed here in torch, from the same
settings (``preprocessor_config.json``); tests compare the two. Spectra are made in double precision, as there: the
quiet bands of a loud sound are below what single precision resolves. What the site's own sound network takes is made by
`encoders.footage_mel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch.nn import functional

_CLAP_FLOOR = 1e-10
"""Power: -100 dB."""
_AST_FRAME, _AST_HOP, _AST_FFT = 400, 160, 512
_AST_FLOOR = 1.192092955078125e-07
_AST_PREEMPHASIS = 0.97


class LogMel(Protocol):
    """Sounds to what a model of sound takes."""

    sample_rate_hz: int

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """(N, n) float32 at ``sample_rate_hz`` -> (N, ...) float32."""
        ...


class ClapLogMel:
    """-> (N, 1 or 4, frames, mels) decibels. Shorter sound is repeated or padded, longer sound is cut to its beginning.

    Models with fusion get the same picture four times: that is what they are trained to be given for short sound.
    """

    def __init__(self, settings: Mapping[str, Any], device: torch.device) -> None:
        from transformers.audio_utils import mel_filter_bank

        self.sample_rate_hz = int(settings["sampling_rate"])
        self._hop, self._fft = int(settings["hop_length"]), int(settings["fft_window_size"])
        self._length = int(settings["max_length_s"] * self.sample_rate_hz)
        self._padding = str(settings["padding"])
        self._copies = 4 if settings["truncation"] == "fusion" else 1
        of_librosa = settings["truncation"] != "fusion"
        bank = mel_filter_bank(
            num_frequency_bins=self._fft // 2 + 1,
            num_mel_filters=int(settings["feature_size"]),
            min_frequency=float(settings["frequency_min"]),
            max_frequency=float(settings["frequency_max"]),
            sampling_rate=self.sample_rate_hz,
            norm="slaney" if of_librosa else None,
            mel_scale="slaney" if of_librosa else "htk",
        )
        self._bank = torch.tensor(bank, dtype=torch.float64, device=device)
        self._window = torch.hann_window(self._fft, dtype=torch.float64, device=device)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        filled = self._filled(samples).double()
        padded = functional.pad(filled, (self._fft // 2, self._fft // 2), mode="reflect")
        frames = padded.unfold(1, self._fft, self._hop)
        different, which = self._different(frames.shape[1], samples.shape[1])
        spectra = torch.fft.rfft(frames[:, different] * self._window)
        power = spectra.real**2 + spectra.imag**2
        decibels: torch.Tensor = 10 * (power @ self._bank).clamp_min(_CLAP_FLOOR).log10()
        return decibels.float()[:, which][:, None].expand(-1, self._copies, -1, -1)

    def _different(self, num_frames: int, num_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """-> (frames to compute, which of them each frame equals). Sound that is repeated has its frames repeated."""
        each = torch.arange(num_frames, device=self._window.device)
        times = self._length // num_samples
        if self._padding == "pad" or times < 2 or num_samples % self._hop:
            return each, each
        first = -(-self._fft // 2 // self._hop)  # before, the mirrored beginning is in the frame
        last = (times * num_samples - self._fft // 2) // self._hop
        repeats = (each >= first) & (each <= last)
        equal = torch.where(repeats, first + (each - first) % (num_samples // self._hop), each)
        different, which = torch.unique(equal, return_inverse=True)
        return different, which

    def _filled(self, samples: torch.Tensor) -> torch.Tensor:
        """(N, n) -> (N, length)."""
        num = samples.shape[1]
        if num < self._length and self._padding in ("repeat", "repeatpad"):
            times = self._length // num
            samples = samples.repeat(1, times + (self._padding == "repeat"))
        return functional.pad(samples[:, : self._length], (0, max(0, self._length - samples.shape[1])))


class AstLogMel:
    """-> (N, frames, mels), normalised. Kaldi's filter banks; shorter sound is padded, longer sound is cut."""

    def __init__(self, settings: Mapping[str, Any], device: torch.device) -> None:
        from transformers.audio_utils import mel_filter_bank

        self.sample_rate_hz = int(settings["sampling_rate"])
        self._frames = int(settings["max_length"])
        self._centre, self._scale = 0.0, 1.0
        if settings["do_normalize"]:
            self._centre, self._scale = float(settings["mean"]), 2 * float(settings["std"])
        bank = mel_filter_bank(
            num_frequency_bins=_AST_FFT // 2 + 1,
            num_mel_filters=int(settings["num_mel_bins"]),
            min_frequency=20,
            max_frequency=self.sample_rate_hz // 2,
            sampling_rate=self.sample_rate_hz,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        self._bank = torch.tensor(bank, dtype=torch.float64, device=device)
        self._window = torch.hann_window(_AST_FRAME, periodic=False, dtype=torch.float64, device=device)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        frames = samples.double().unfold(1, _AST_FRAME, _AST_HOP)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = functional.pad(frames, (1, 0), mode="replicate")[..., :-1]  # the first has itself before it
        spectra = torch.fft.rfft((frames - _AST_PREEMPHASIS * before) * self._window, n=_AST_FFT)
        power = spectra.real**2 + spectra.imag**2
        mels = (power @ self._bank).clamp_min(_AST_FLOOR).log().float()[:, : self._frames]
        filled = functional.pad(mels, (0, 0, 0, self._frames - mels.shape[1]))
        return (filled - self._centre) / self._scale
