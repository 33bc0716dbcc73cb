from __future__ import annotations

import subprocess
import sys

import pytest

FORK_UNDER_PRODUCTS = """
import subprocess, threading
IMPORTS
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


SETTLE = "from mmstream.settle import one_thread_per_product; one_thread_per_product()"


@pytest.mark.parametrize("imports", [f"import numpy as np\n{SETTLE}", f"{SETTLE}\nimport numpy as np"])
def test_a_process_that_forks_while_feeds_compute_does_not_hang_in_its_next_matrix_product(imports: str) -> None:
    """The second order hung: there was no NumPy yet that could be told."""
    subprocess.run([sys.executable, "-c", FORK_UNDER_PRODUCTS.replace("IMPORTS", imports)], check=True, timeout=120)
