"""What a process that runs for months does once, when all that it needs has been imported."""

from __future__ import annotations

import gc
import sys

YOUNG, MIDDLE, OLD = 50_000, 20, 50


def settle() -> None:
    """Keep Python's cycle collector off the objects that will live as long as the process.

    With torch imported they are some hundred thousand, and the default thresholds walk them several times a
    second under the path's allocations: a fifth of the path's CPU time (docs/benchmarks.md). Nothing on the path
    makes cycles; those of others are still collected, 50,000 allocations at a time. Threads also keep the
    interpreter for up to 50 ms, ten times the default: handing it over costs more than the wait is worth here.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    sys.setswitchinterval(0.05)
