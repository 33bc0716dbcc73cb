"""Makers of moments for the tests of the archive."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmstream.types import Moment

DIM = 24


def direction(seed: int) -> Any:
    """A vector that no other seed's is like."""
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float16)


def make_moment(feed_id: str = "gate", start_s: float = 1000.0, **changes: Any) -> Moment:
    settings: dict[str, Any] = {
        "feed_id": feed_id,
        "start_s": start_s,
        "end_s": start_s + 2.0,
        "surprise": 0.5,
        "p": {"vision": 0.3},
        "shares": {"picture": 1.0},
        "state": "normal",
        "vectors": {"vision": direction(int(start_s))},
        "models": {"vision": "clip@1"},
    }
    return Moment(**(settings | changes))
