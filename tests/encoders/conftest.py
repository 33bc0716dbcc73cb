"""Shared by the tests of models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny products in several threads wait for each other: on a busy machine that takes twenty times as long."""
    import torch

    num_before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_before)
