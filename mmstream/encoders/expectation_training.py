"""Trains the expectation net on normal minutes of one camera: half a minute of one core, torch needed only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmstream.encoders.expectation_input import MOVING, Sample, as_seen, samples_of
from mmstream.encoders.expectation_net import CELL_PX, HIDDEN, LAYERS, LEAST_SCALE, Layer, TrainedNet
from mmstream.errors import StageError
from mmstream.types import Float32, Frame

STEPS = 1000
"""Half a minute of one core. On UCSD Ped2 2000 gave 0 to 0.01 AUC more, which is within the noise there."""
BATCH = 12
CROP_CELLS = 24
LEARNING_RATE = 3e-3
STILL_WEIGHT = 0.1
"""Cells that stand still are most of a picture, and say little."""
GAIN = (0.85, 1.15)
MIN_SAMPLES = 100
MAX_SAMPLES = 2048
"""180 MB; of more pictures a random choice is kept."""
BACKGROUND_OF = 48
"""Pictures whose median is the background that the encoder starts with."""

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all)."""


def train_expectation(
    frames: Iterable[Frame], *, steps: int = STEPS, seed: int = 0, progress: Progress = lambda _done, _total: None
) -> TrainedNet:
    """Learn from normal pictures, in the order of time; see `train_on`."""
    return train_on(samples_of(frames), steps=steps, seed=seed, progress=progress)


def train_on(
    samples: Iterable[Sample], *, steps: int = STEPS, seed: int = 0, progress: Progress = lambda _done, _total: None
) -> TrainedNet:
    """Learn how fast what is seen moves.

    The loss is the negative log likelihood of a Laplace distribution, ``|speed - expected| / scale + log(scale)``.
    The same samples, steps and seed give the same net on one machine.

    Raises:
        StageError: too few pictures with motion vectors.
    """
    generator = np.random.default_rng(seed)
    chosen = choose(samples, generator)
    if len(chosen) < MIN_SAMPLES:
        raise StageError(
            f"{len(chosen)} normal pictures with motion vectors are too few to train the expectation channel on, want "
            f"{MIN_SAMPLES}; give it more minutes, or an H.264 stream where the codec gives no motion vectors"
        )
    with own_torch(seed):
        return exported(_fitted(chosen, steps, generator, progress), chosen)


def choose(samples: Iterable[Sample], generator: np.random.Generator, count: int = MAX_SAMPLES) -> list[Sample]:
    """At most ``count`` of them, each as likely as any other (Vitter 1985, algorithm R), all of the last one's size."""
    kept: list[Sample] = []
    for number, sample in enumerate(samples):
        if len(kept) < count:
            kept.append(sample)
        elif (place := int(generator.integers(number + 1))) < count:
            kept[place] = sample
        shape = sample.luma.shape
    return [sample for sample in kept if sample.luma.shape == shape]


class _Block(nn.Module):
    """A `Layer`, with batch normalisation while it is learned."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            layer.channels_in,
            layer.channels,
            layer.size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(layer.channels)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.norm(self.convolution(maps)))


class ExpectationNet(nn.Module):
    """What `TrainedNet` computes, while it is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [_Block(layer) for layer in LAYERS]
        self.layers = nn.Sequential(*self.blocks)
        self.hidden = nn.Linear(LAYERS[-1].channels + 1, HIDDEN)
        self.out = nn.Linear(HIDDEN, 2)

    def forward(self, seen: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2, H, W), (N, 1, rows, cols) -> speed and scale, (N, rows, cols) each."""
        maps = torch.cat([self.layers(seen), row], 1).movedim(1, -1)
        out = functional.softplus(self.out(functional.relu(self.hidden(maps))))
        return out[..., 0], LEAST_SCALE + out[..., 1]


def loss_of(expected: Tensor, scale: Tensor, speeds: Tensor) -> Tensor:
    """Negative log likelihood of the speeds under Laplace distributions, (N, rows, cols) each, less log 2: a scalar."""
    weight = (speeds > MOVING).float() + STILL_WEIGHT
    return (weight * ((speeds - expected).abs() / scale + scale.log())).sum() / weight.sum()


@contextmanager
def own_torch(seed: int) -> Iterator[None]:
    """One core, and a random sequence of its own; what others in this process use stays as it was."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(num_threads)


def _fitted(
    samples: Sequence[Sample], steps: int, generator: np.random.Generator, progress: Progress
) -> ExpectationNet:
    net = ExpectationNet()
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    crops = Crops(samples)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1.0 - step / steps)
        seen, speeds, row = (torch.from_numpy(array) for array in crops.batch(generator))
        expected, scale = net(seen, row)
        loss = loss_of(expected, scale, speeds)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress(step + 1, steps)
    return net.eval()


class Crops:
    """Pieces of pictures around something that moves, mirrored and brightened at random."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._moving: list[npt.NDArray[np.intp]] = [np.argwhere(sample.speeds > MOVING) for sample in samples]
        self._rows = samples[0].speeds.shape[0]
        height, width = samples[0].luma.shape
        self._grid = height // CELL_PX, width // CELL_PX  # cells that lie in the picture as a whole
        self._size = min(CROP_CELLS, self._grid[0]), min(CROP_CELLS, self._grid[1])

    def batch(self, generator: np.random.Generator) -> tuple[Float32, Float32, Float32]:
        """-> (`BATCH`, 2, H, W) seen, (`BATCH`, rows, cols) speeds, (`BATCH`, 1, rows, cols) row."""
        pieces = [self._piece(generator) for _ in range(BATCH)]
        seen, speeds, row = (np.stack(arrays) for arrays in zip(*pieces, strict=True))
        return seen, speeds, row[:, None]

    def _piece(self, generator: np.random.Generator) -> tuple[Float32, Float32, Float32]:
        number = int(generator.integers(len(self._samples)))
        sample = self._samples[number]
        top, left = self._corner(self._moving[number], generator)
        rows, cols = self._size
        speeds = sample.speeds[top : top + rows, left : left + cols]
        pixels = (
            slice(top * CELL_PX, (top + rows) * CELL_PX),
            slice(left * CELL_PX, (left + cols) * CELL_PX),
        )
        gain = np.float32(generator.uniform(*GAIN))
        seen = as_seen(sample.luma[pixels] * gain, sample.background[pixels] * gain)
        if generator.random() < 0.5:
            seen, speeds = seen[..., ::-1], speeds[:, ::-1]
        row = (np.arange(top, top + rows, dtype=np.float32) / np.float32(self._rows))[:, None]
        return seen, speeds, np.broadcast_to(row, speeds.shape)

    def _corner(self, moving: npt.NDArray[np.intp], generator: np.random.Generator) -> tuple[int, int]:
        (rows, cols), (height, width) = self._grid, self._size
        if len(moving):
            row, col = moving[generator.integers(len(moving))].tolist()
            around = generator.integers(-CROP_CELLS // 4, CROP_CELLS // 4 + 1, 2)
            row, col = row + int(around[0]), col + int(around[1])
        else:
            row, col = int(generator.integers(rows)), int(generator.integers(cols))
        return min(max(row - height // 2, 0), rows - height), min(max(col - width // 2, 0), cols - width)


def exported(net: ExpectationNet, samples: Sequence[Sample]) -> TrainedNet:
    """The weights with the normalisation folded in, and what the camera showed: running it then needs no torch."""
    arrays: dict[str, Float32] = {}
    for number, block in enumerate(net.blocks):
        norm = block.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = block.convolution.weight.flatten(1) * factor[:, None]
        arrays |= _as_arrays(f"layer{number}", weight, norm.bias - norm.running_mean * factor)
    arrays |= _as_arrays("hidden", net.hidden.weight, net.hidden.bias)
    arrays |= _as_arrays("out", net.out.weight, net.out.bias)
    spread = samples[:: -(-len(samples) // BACKGROUND_OF)]
    return TrainedNet(
        arrays=arrays,
        background=np.median([sample.luma for sample in spread], axis=0).astype(np.uint8),
        start_s=min(sample.at_s for sample in samples),
        end_s=max(sample.at_s for sample in samples),
        num_frames=len(samples),
    )


def _as_arrays(name: str, weight: Tensor, bias: Tensor) -> dict[str, Float32]:
    return {f"{name}.w": weight.detach().numpy().copy(), f"{name}.b": bias.detach().numpy().copy()}
