"""What a model must offer so that a site can train it, try it and put it to use.

A `ModelKind` is one sort of model: an appearance-to-motion net per camera, picture and sound networks for the whole
site, adapters on a pretrained encoder, trained fusion. It makes a `Trainee` for what is to be trained (`training.loop`
runs that, alone or on several workers), and says how good a version is on days that it did not learn from
(`training.promote` decides by that). None of it knows of Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mmstream.training.promote import Trial

if TYPE_CHECKING:
    import torch

    from mmstream.training.corpus import Corpus

KINDS: dict[str, str] = {
    "expectation": "mmstream.training.expectation:ExpectationKind",
    "site": "mmstream.training.site:SiteKind",
    "adapter": "mmstream.training.adapter:AdapterKind",
    "fusion": "mmstream.training.fused:FusionKind",
}
"""What can be trained; ``training.models`` in site.yaml chooses of these."""

Batch = Mapping[str, Any]
"""Name -> tensor or plain value; the loop moves tensors to the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one batch gave."""

    loss: torch.Tensor
    """Scalar, to be minimised."""
    parts: Mapping[str, float]
    """Its parts and other figures worth a curve, by name."""


class Trainee(Protocol):
    """One model being trained. Made once on every worker from the same arguments; must pickle.

    ``seed`` decides everything that is drawn: the same seed, epoch, rank and number of workers give the same batches.
    """

    seed: int

    def module(self) -> torch.nn.Module:
        """The module with its starting weights (those of the version in use, where there is one)."""
        ...

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        """This worker's share of an epoch, augmented; every worker gives as many batches."""
        ...

    def step(self, module: torch.nn.Module, batch: Batch) -> Step: ...

    def validate(self, module: torch.nn.Module) -> Mapping[str, float]:
        """On what was set aside within the training days: ``loss`` (early stopping looks at it) and other figures."""
        ...

    def export(self, module: torch.nn.Module) -> Mapping[str, bytes]:
        """The files of a version: ``model.safetensors`` with all that is needed to load it in its metadata, and
        whatever goes with it."""
        ...


class ModelKind(Protocol):
    """One sort of model; a line in `KINDS`."""

    name: ClassVar[str]

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        """Names in the registry of what can be trained on this corpus: ``site``, or ``expectation.gate-3`` per camera.
        Empty when there is too little to learn from."""
        ...

    def trainee(self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None) -> Trainee:
        """``options``: ``training.options.<kind>`` of the site; ``parent``: the files of the version in use.

        Raises:
            StageError: there is too little to learn from; says how much is wanted.
            ConfigError: an option is unknown or out of range.
        """
        ...

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        """What the version in ``files`` does on the corpus's held-out days; None: the site as it is without one.

        Both sides of a comparison are given the same corpus and answer for the same events.
        """
        ...
