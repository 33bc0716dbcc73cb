"""What the site's networks are worth on windows that they did not learn from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mmstream.encoders.site_net import PARTS
from mmstream.training.objectives import around_feed
from mmstream.training.site_nets import Seen

FORESEEN = tuple(f"foreseen_{name}" for name in PARTS)


def figures(seen: Seen, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """``found``: the share of pictures whose own sound is nearer than any of other bursts of their feed, and
    ``by_chance``, how large it would be if one were drawn. Of each network: ``deviation``, of its vectors around the
    mean of their feed (near 0: all vectors are the same), and ``foreseen``, the share of that which was expected a
    second before.

    The first half of the windows comes a second before the second half; ``batch``: (N, 2) ``has``, (N,) ``burst`` and
    ``feed``.
    """
    found: dict[str, float] = {}
    has, feed = batch["has"], batch["feed"]
    both = has.all(dim=1)
    if bool(both.any()):
        aligned = seen.aligned_picture[both], seen.aligned_sound[both]
        found |= retrieval(*aligned, batch["burst"][both], feed[both])
    half = len(has) // 2
    expectations = (seen.picture, seen.next_picture), (seen.sound, seen.next_sound)
    for part, (vectors, expected) in enumerate(expectations):
        there = has[:half, part] & has[half:, part]
        if int(there.sum()) < 2:
            continue
        centred = around_feed(vectors[half:][there], feed[half:][there])
        missed = vectors[half:][there] - expected[:half][there]
        found[f"deviation_{PARTS[part]}"] = float(centred.square().mean().sqrt())
        found[FORESEEN[part]] = 1.0 - float(missed.square().mean() / centred.square().mean().clamp_min(1e-12))
    return found


def retrieval(pictures: Tensor, sounds: Tensor, bursts: Tensor, feeds: Tensor) -> dict[str, float]:
    """``found`` and ``by_chance``, seen from the mean of each feed; empty where no feed has two bursts."""
    seen, heard = (functional.normalize(around_feed(each, feeds)) for each in (pictures, sounds))
    alike = seen @ heard.T
    other = (feeds[:, None] == feeds[None, :]) & (bursts[:, None] != bursts[None, :])
    asked = other.any(dim=1)
    if not bool(asked.any()):
        return {}
    best_other = alike.masked_fill(~other, -torch.inf).amax(dim=1)
    return {
        "found": float((alike.diagonal() > best_other)[asked].float().mean()),
        "by_chance": float((1.0 / (1.0 + other.sum(dim=1)))[asked].mean()),
    }
