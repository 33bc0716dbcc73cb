"""Shared fixtures: where the real footage is, and nothing that hides a skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from mmstream.settle import one_thread_per_product

one_thread_per_product()  # tests start processes while threads of others compute

# a busy machine is no failure: how long an example takes is not what these tests are about
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of real footage; the test is skipped, visibly, where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MMSTREAM_FOOTAGE", beside))
    if not folder.is_dir():
        pytest.skip(f"no footage at {folder}; set MMSTREAM_FOOTAGE")
    return folder
