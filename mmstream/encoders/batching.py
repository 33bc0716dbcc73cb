"""Between snapshots and replica encoders: build an encoder from settings, and encode what many feeds sent in one call.

The same two functions serve a single process and the Serve replicas.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream import stages
from mmstream.encoders import ON_DEMAND_MODELS, REPLICA_ENCODERS
from mmstream.encoders.fitting import Fitting
from mmstream.errors import ConfigError, StageError
from mmstream.stages import Describer, ReplicaEncoder, SpeechModel
from mmstream.types import Embedding, Float32, InputSpec, Snapshot


def build_replica(name: str, options: Mapping[str, Any], device: str) -> ReplicaEncoder:
    """The encoder called ``name`` in `REPLICA_ENCODERS`, made with the site's options for it.

    Raises:
        ConfigError: no such encoder, an option that it does not have or that is missing, or what the encoder itself
            says is wrong (no such folder, other weights, ...).
    """
    encoder: ReplicaEncoder = _build(stages.load(REPLICA_ENCODERS, name), f"encoders.options.{name}", options, device)
    return encoder


def build_on_demand(name: str, options: Mapping[str, Any], device: str) -> SpeechModel | Describer:
    """The model called ``name`` in `ON_DEMAND_MODELS`, made with ``understanding.options`` for it.

    Raises:
        ConfigError: as `build_replica`.
    """
    where = f"understanding.options.{name}"
    model: SpeechModel | Describer = _build(stages.load(ON_DEMAND_MODELS, name), where, options, device)
    return model


def _build(part: Any, where: str, options: Mapping[str, Any], device: str) -> Any:
    """``part(**options)``; ``where`` stands before everything that is wrong with the options."""
    parameters = dict(inspect.signature(part).parameters)
    takes_device = parameters.pop("device", None) is not None
    allowed = ", ".join(sorted(parameters)) or "none"
    for option in options:
        if option == "device":
            raise ConfigError(f"{where}: the device is set for all encoders by encoders.device")
        if option not in parameters:
            raise ConfigError(f"{where}: there is no option {option!r}; allowed: {allowed}")
    for option, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ConfigError(f"{where}: {option!r} is missing; allowed: {allowed}")
    try:
        return part(**options, **({"device": device} if takes_device else {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def fits(data: npt.NDArray[Any], spec: InputSpec) -> bool:
    """Whether one input has the shape and the kind of numbers (or text) that an encoder wants."""
    return data.shape == spec.shape and _kind(data.dtype) == _kind(np.dtype(spec.dtype))


def blank(spec: InputSpec, count: int = 1) -> npt.NDArray[Any]:
    """(count, *spec.shape) of nothing: a black picture, silence, no words. For warming a model up."""
    return np.zeros((count, *spec.shape), spec.dtype)


def check_inputs(inputs: npt.NDArray[Any], spec: InputSpec) -> None:
    """Raises ValueError unless ``inputs`` is (N, *spec.shape) of the spec's dtype."""
    if inputs.shape[1:] != spec.shape or inputs.ndim == 0 or _kind(inputs.dtype) != _kind(np.dtype(spec.dtype)):
        raise ValueError(f"want {_named(spec)}, got {inputs.dtype} {inputs.shape}")


def stack_inputs(snapshots: Sequence[Snapshot]) -> tuple[list[Snapshot], npt.NDArray[Any]]:
    """-> (the snapshots that fit together, in order, and what they carry as one array).

    Fitting together means the kind and the shape that most of them have. The others are left out.
    """
    counted = Counter(_form(snapshot.data) for snapshot in snapshots).most_common(1)
    kept = [snapshot for snapshot in snapshots if _form(snapshot.data) == counted[0][0]]
    return kept, np.stack([snapshot.data for snapshot in kept]) if kept else np.zeros((0, 0), np.uint8)


def _form(data: npt.NDArray[Any]) -> tuple[str, tuple[int, ...]]:
    return _kind(data.dtype), data.shape


def _kind(dtype: np.dtype[Any]) -> str:
    """Texts of any length are of one kind."""
    return "str" if dtype.kind == "U" else dtype.name


def _named(spec: InputSpec) -> str:
    return f"{spec.dtype} (N, {', '.join(map(str, spec.shape))})".replace(", )", ")")


def to_embeddings(snapshots: Sequence[Snapshot], vectors: Float32, *, channel: str, model: str) -> list[Embedding]:
    """One embedding per snapshot, in order; rows that are not finite are left out.

    Each keeps a copy of its row: a view would hold the whole chunk (and, under Ray, its place in the object store).
    """
    finite = np.all(np.isfinite(vectors), axis=1).tolist()
    return [
        Embedding(
            feed_id=snapshot.feed_id,
            start_s=snapshot.start_s,
            end_s=snapshot.end_s,
            channel=channel,
            vector=np.array(row, np.float32),
            model=model,
        )
        for snapshot, row, usable in zip(snapshots, vectors, finite, strict=True)
        if usable
    ]


def encode_snapshots(
    encoder: ReplicaEncoder, snapshots: Sequence[Snapshot], encode: Fitting | None = None
) -> list[Embedding]:
    """Encode pictures, sounds or texts of any feeds in one call, in order.

    With ``encode`` (the encoder's own, fitted to the memory) a batch may be made smaller.

    An input of another shape or type than the encoder's and a row that is not finite are dropped: the caller counts
    ``len(snapshots) - len(answer)``.

    Raises:
        StageError: not one input fits, so the caller and the encoder disagree for good.
    """
    kept = [snapshot for snapshot in snapshots if fits(snapshot.data, encoder.wants)]
    if not kept:
        if not snapshots:
            return []
        first = snapshots[0].data
        raise StageError(
            f"{encoder.model} wants {_named(encoder.wants)}; "
            f"feed {snapshots[0].feed_id!r} sent {first.dtype} {first.shape}"
        )
    vectors = (encode or encoder.encode)(np.stack([snapshot.data for snapshot in kept]))
    return to_embeddings(kept, vectors, channel=encoder.channel.name, model=encoder.model)
