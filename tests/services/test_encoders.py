"""What can be said of the encoders' client without a Ray; the rest is in tests/cluster/test_encoders.py."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from services import encoders


class Handle:
    """Has no replica in its routing the first ``num_away`` times that all are asked."""

    def __init__(self, num_away: int) -> None:
        self.num_away = num_away
        self.asked: list[tuple[Any, ...]] = []

    def broadcast(self, method: str, *args: Any) -> Handle:
        self.asked.append((method, *args))
        return self

    def results(self, timeout_s: float) -> list[str]:
        if len(self.asked) <= self.num_away:
            raise DeploymentUnavailableError(DeploymentID("Encoder-probe", "encoder-probe"))
        return [f"answered within {timeout_s}"]


def test_asking_all_replicas_while_serve_reconfigures_the_only_one_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test site with one replica failed at this: for a moment Serve's routing was empty."""
    handle = Handle(num_away=2)
    monkeypatch.setattr(encoders, "encoder_handle", lambda _: handle)
    assert encoders.ask_all("probe", "stage", 1, timeout_s=30.0) == ["answered within 30.0"]
    assert handle.asked == [("stage", 1)] * 3


def test_an_encoder_without_replicas_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "encoder_handle", lambda _: Handle(num_away=1000))
    with pytest.raises(DeploymentUnavailableError):
        encoders.ask_all("probe", "stats", timeout_s=0.0)
