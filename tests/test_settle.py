from __future__ import annotations

import subprocess
import sys

FORK_UNDER_PRODUCTS = """
import subprocess, sys, threading
import numpy as np
from mmstream.settle import one_thread_per_product

one_thread_per_product()
down, luma, right = (np.ones(shape, np.float32) for shape in ((36, 134), (134, 240), (240, 64)))
over = threading.Event()

def compute():
    while not over.is_set():
        down @ luma @ right

threads = [threading.Thread(target=compute, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(300):
    subprocess.run(["true"], preexec_fn=lambda: None, check=True)
    down @ luma @ right
over.set()
for thread in threads:
    thread.join()
"""


def test_a_process_that_forks_while_feeds_compute_does_not_hang_in_its_next_matrix_product() -> None:
    subprocess.run([sys.executable, "-c", FORK_UNDER_PRODUCTS], check=True, timeout=120)
