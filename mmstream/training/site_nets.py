"""The site's networks while they learn: what sees, what hears, and the heads that only training needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmstream.encoders.site_net import DIM, PictureNet, SoundNet

ALIGNED_DIM = 64
HIDDEN = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What the networks make of N windows; rows of what was not there are 0."""

    picture: Tensor
    """(N, DIM), and the same for sound."""
    sound: Tensor
    aligned_picture: Tensor
    """(N, ALIGNED_DIM): where a picture and its sound meet."""
    aligned_sound: Tensor
    next_picture: Tensor
    """(N, DIM): what is expected to be seen a window later."""
    next_sound: Tensor
    taught: Tensor | None
    """(N, D): in the space of the teacher."""

    def tensors(self) -> dict[str, Tensor]:
        """By name, those that are there."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def cpu(self) -> Seen:
        return dataclasses.replace(self, **{name: value.cpu() for name, value in self.tensors().items()})


def together(parts: Sequence[Seen]) -> Seen:
    """The windows of all, one after another; at least one part."""
    each = [part.tensors() for part in parts]
    return dataclasses.replace(parts[0], **{name: torch.cat([one[name] for one in each]) for name in each[0]})


class SiteNet(nn.Module):
    """Both networks and their heads; ``teacher_dim`` 0: without a teacher.

    What comes next is expected from picture and sound together (either may be absent), so that a siren lets a fire
    engine be expected.
    """

    def __init__(self, *, teacher_dim: int = 0) -> None:
        super().__init__()
        self.picture, self.sound = PictureNet(), SoundNet()
        self.align_picture, self.align_sound = nn.Linear(DIM, ALIGNED_DIM), nn.Linear(DIM, ALIGNED_DIM)
        self.predict = nn.Sequential(nn.Linear(2 * DIM + 2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * DIM))
        self.teach = nn.Linear(DIM, teacher_dim) if teacher_dim else None

    def forward(self, pictures: Tensor, mels: Tensor, has: Tensor, told: Tensor) -> Seen:
        """uint8 (N, 112, 112, 3), (N, 64, 96); ``has`` (N, 2) bool: picture and sound are there; ``told`` (N, 2) bool:
        the prediction may know of them."""
        picture = _where_there(self.picture, pictures, has[:, 0])
        sound = _where_there(self.sound, mels, has[:, 1])
        known = (has & told).to(picture.dtype)
        now = torch.cat([picture * known[:, :1], sound * known[:, 1:]], dim=1)
        changes = self.predict(torch.cat([now, known], dim=1)).float()  # what is there mostly stays
        next_picture, next_sound = (now + changes).split(DIM, dim=1)
        return Seen(
            picture=picture,
            sound=sound,
            aligned_picture=self.align_picture(picture).float(),
            aligned_sound=self.align_sound(sound).float(),
            next_picture=next_picture,
            next_sound=next_sound,
            taught=self.teach(picture).float() if self.teach is not None else None,
        )


def _where_there(net: nn.Module, inputs: Tensor, there: Tensor) -> Tensor:
    """(N, DIM), 0 where nothing is: rows of nothing must not get into the running statistics.

    Without any row all weights still take part, with gradients of 0: workers that train together wait for all of them.
    """
    if bool(there.all()):
        whole: Tensor = net(inputs)
        return whole.float()
    vectors = torch.zeros(len(inputs), DIM, device=inputs.device)
    if bool(there.any()):
        return vectors.index_put((there.nonzero()[:, 0],), net(inputs[there]).float())
    return vectors + sum(0.0 * parameter.sum() for parameter in net.parameters())
