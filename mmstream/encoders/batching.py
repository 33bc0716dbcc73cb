"""Between snapshots and replica encoders: build an encoder from settings, and encode many feeds' pictures in one call.

The same two functions serve a single process and the Serve replicas.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmstream import stages
from mmstream.encoders import REPLICA_ENCODERS
from mmstream.errors import ConfigError, StageError
from mmstream.stages import ReplicaEncoder
from mmstream.types import Embedding, Float32, Snapshot, UInt8


def build_replica(name: str, options: Mapping[str, Any], device: str) -> ReplicaEncoder:
    """The encoder called ``name`` in `REPLICA_ENCODERS`, made with the site's options for it.

    Raises:
        ConfigError: no such encoder, an option that it does not have or that is missing, or what the encoder itself
            says is wrong (no such folder, other weights, ...).
    """
    encoder_class = stages.load(REPLICA_ENCODERS, name)
    parameters = dict(inspect.signature(encoder_class).parameters)
    takes_device = parameters.pop("device", None) is not None
    allowed = ", ".join(sorted(parameters)) or "none"
    for option in options:
        if option == "device":
            raise ConfigError(f"encoders.options.{name}: the device is set for all encoders by encoders.device")
        if option not in parameters:
            raise ConfigError(f"encoders.options.{name}: there is no option {option!r}; allowed: {allowed}")
    for option, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ConfigError(f"encoders.options.{name}: {option!r} is missing; allowed: {allowed}")
    try:
        encoder: ReplicaEncoder = encoder_class(**options, **({"device": device} if takes_device else {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"encoders.options.{name}: {error}") from error
    return encoder


def stack_pictures(snapshots: Sequence[Snapshot], shape: tuple[int, ...] | None = None) -> tuple[list[Snapshot], UInt8]:
    """-> (the snapshots that fit, in order, and their pictures as uint8 (N, *shape)).

    Without ``shape``, the one that most of them have. The others are left out.
    """
    usable = [snapshot for snapshot in snapshots if snapshot.picture.dtype == np.uint8]
    if shape is None:
        counted = Counter(snapshot.picture.shape for snapshot in usable).most_common(1)
        shape = counted[0][0] if counted else (0,)
    kept = [snapshot for snapshot in usable if snapshot.picture.shape == shape]
    stacked = np.stack([snapshot.picture for snapshot in kept]) if kept else np.zeros((0, *shape), np.uint8)
    return kept, stacked


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


def encode_snapshots(encoder: ReplicaEncoder, snapshots: Sequence[Snapshot]) -> list[Embedding]:
    """Encode pictures of any feeds in one call, in order.

    A picture of another shape or type than the encoder's and a row that is not finite are dropped: the caller counts
    ``len(snapshots) - len(answer)``.

    Raises:
        StageError: not one picture fits, so the caller and the encoder disagree for good.
    """
    kept, pictures = stack_pictures(snapshots, encoder.picture.shape)
    if not kept:
        if not snapshots:
            return []
        first = snapshots[0].picture
        raise StageError(
            f"{encoder.model} wants uint8 pictures of {encoder.picture.shape}; "
            f"feed {snapshots[0].feed_id!r} sent {first.dtype} {first.shape}"
        )
    return to_embeddings(kept, encoder.encode(pictures), channel=encoder.channel.name, model=encoder.model)
