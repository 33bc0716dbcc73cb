"""One Ray cluster for all tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray
from ray import serve


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """A local Ray cluster with Serve, without dashboard and HTTP proxy."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 2**20,
    )
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()
    ray.shutdown()
