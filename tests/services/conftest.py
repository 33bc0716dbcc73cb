"""A site without Ray and a client that carries its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.services.running import BEARER, FakeSite, serving


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def http(site: FakeSite) -> Iterator[httpx.Client]:
    with serving(site.app()) as url, httpx.Client(base_url=url, headers=BEARER, trust_env=False) as client:
        yield client
