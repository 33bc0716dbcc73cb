"""The site's own networks as encoders: what this site looks and sounds like, in vectors that it made up for itself.

They stand by until a first version has been trained and promoted. A channel of each, and an aspect of its own: until
then there is nothing to take together with the other channels of picture and sound, and a new version, whose vectors
are other ones, must not disturb what has been learned of theirs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mmstream.encoders.batching import check_inputs
from mmstream.encoders.filterbank import Device, Precision, pick_device, pick_dtype
from mmstream.encoders.footage_mel import NUM_FRAMES, NUM_SAMPLES, SAMPLE_RATE_HZ, footage_mel
from mmstream.encoders.site_net import DIM, SIDE_PX, PictureNet, SmallNet, SoundNet, load_part
from mmstream.encoders.sound import NUM_BANDS
from mmstream.errors import ConfigError
from mmstream.types import Channel, Float32, PictureSpec, SoundSpec, UInt8

CPU_SLICE = 16
"""Inputs at a time on a CPU: the maps of more fall out of its cache."""


class _SiteEncoder:
    """One of the two networks, loaded from a version's weights."""

    def __init__(
        self, net: SmallNet, part: str, *, weights: str, version: str, device: str, precision: Precision
    ) -> None:
        if not weights:
            raise ConfigError(f"the site's {part} network is not trained yet: mmstream train")
        path = Path(weights).expanduser()
        load_part(path, part, net)
        self._device = pick_device(device)
        # Measured on a CPU: bf16 takes 1.4 times as long for layers this small, so auto means fp32 there.
        is_auto_on_cpu = precision == "auto" and self._device.type == "cpu"
        dtype = pick_dtype("fp32" if is_auto_on_cpu else precision, self._device)
        self._net = net.fused().to(self._device, dtype).to(memory_format=torch.channels_last)
        self.model = f"site@{version or hashlib.sha256(path.read_bytes()).hexdigest()[:10]}"
        self.dim = DIM

    def _vectors(self, inputs: UInt8 | Float32) -> Float32:
        step = CPU_SLICE if self._device.type == "cpu" else max(1, len(inputs))
        with torch.inference_mode():
            parts = [
                self._net(torch.tensor(inputs[i : i + step]).to(self._device)) for i in range(0, len(inputs), step)
            ]
            rows = torch.nn.functional.normalize(torch.cat(parts).float()) if parts else torch.zeros(0, DIM)
            return np.asarray(rows.cpu().numpy(), np.float32)


class SitePictureEncoder(_SiteEncoder):
    """What is to be seen, (N, 112, 112, 3) -> (N, 128), rows of length 1.

    ``weights``: the ``model.safetensors`` of a version; ``version``: its name, else the hash of its weights stands in
    for it.

    Raises:
        ConfigError: no weights yet, none that can be read, or no picture network in them.
    """

    channel: ClassVar[Channel] = Channel(name="site", modality="picture", normality="bank", density=True, aspect="site")
    wants: PictureSpec = PictureSpec(width_px=SIDE_PX, height_px=SIDE_PX, colour=True, rate_hz=1.0)

    def __init__(
        self, *, weights: str = "", version: str = "", device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        super().__init__(PictureNet(), "picture", weights=weights, version=version, device=device, precision=precision)

    def encode(self, inputs: UInt8) -> Float32:
        check_inputs(inputs, self.wants)
        return self._vectors(inputs)


class SiteSoundEncoder(_SiteEncoder):
    """What is to be heard, two seconds at 16 kHz (N, 32000) -> (N, 128), rows of length 1. Options as of the pictures.

    Raises:
        ConfigError: no weights yet, none that can be read, or no sound network in them.
    """

    channel: ClassVar[Channel] = Channel(
        name="site-sound", modality="sound", normality="bank", density=True, aspect="site-sound"
    )
    wants: SoundSpec = SoundSpec(sample_rate_hz=SAMPLE_RATE_HZ, duration_s=NUM_SAMPLES / SAMPLE_RATE_HZ, rate_hz=1.0)

    def __init__(
        self, *, weights: str = "", version: str = "", device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        super().__init__(SoundNet(), "sound", weights=weights, version=version, device=device, precision=precision)

    def encode(self, inputs: Float32) -> Float32:
        check_inputs(inputs, self.wants)
        return self.encode_mels(footage_mel(inputs))

    def encode_mels(self, mels: Float32) -> Float32:
        """Of log-mel as footage has it, (N, 64, 96): the same vectors as of the sound itself.

        Raises:
            ValueError: another shape.
        """
        if mels.shape[1:] != (NUM_BANDS, NUM_FRAMES):
            raise ValueError(f"want log-mel (N, {NUM_BANDS}, {NUM_FRAMES}), got {mels.shape}")
        return self._vectors(mels)
