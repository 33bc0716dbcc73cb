"""What a process does once so that it can run for months: quiet cycle collection, no threads below NumPy."""

from __future__ import annotations

import gc
import os
import sys

import threadpoolctl

YOUNG, MIDDLE, OLD = 50_000, 20, 50


def settle() -> None:
    """Keep Python's cycle collector off the objects that will live as long as the process.

    Call it when all that the process needs has been imported. With torch imported they are some
    hundred thousand, and the default thresholds walk them several times a second under the path's
    allocations: a fifth of the path's CPU time (docs/benchmarks.md). Nothing on the path makes cycles;
    those of others are still collected, 50,000 allocations at a time. Threads also keep the interpreter
    for up to 50 ms, ten times the default: handing it over costs more than the wait is worth here.
    """
    one_thread_per_product()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    sys.setswitchinterval(0.05)


def one_thread_per_product() -> None:
    """Let NumPy compute matrix products in the thread that asks for them.

    OpenBLAS ends its helper threads when the process forks, and a product that another thread has
    handed to them at that moment never comes back; every later one then waits for it. Ray forks
    whenever it starts a process, feeds compute in threads of their own, and their products are too
    small to be worth helpers. Holds for libraries that are there and, by the environment, for those that
    are loaded later: NumPy itself may not be yet, SciPy brings an OpenBLAS of its own.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    threadpoolctl.threadpool_limits(1, user_api="blas")
