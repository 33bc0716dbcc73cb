"""What a calibrator kept of the past, as the beginning of a replay."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.alerts.blocks import STEPS_PER_UNIT, Blocks
from mmstream.replay.beginning import before, reread
from mmstream.replay.strips import Past, past_of
from mmstream.types import Float64


def make_blocks(numbers: list[int], maxima: list[float]) -> np.ndarray:  # type: ignore[type-arg]
    blocks = Blocks(block_s=30.0, quiet_s=7.5)
    for number, maximum in zip(numbers, maxima, strict=True):
        blocks.append(number, maximum, maximum, [maximum, *[0.0] * (blocks.num_cells - 1)])
    return blocks.state()


def make_past(value: Float64) -> Past:
    """One window a block."""
    count = len(value)
    times_s = np.arange(count) * 30.0
    return Past(
        feed_id="gate",
        aspects=(),
        blocks_s=times_s,
        covered_s=np.full(count, 30.0),
        first=np.arange(count + 1),
        start_s=times_s,
        end_s=times_s + 2.0,
        surprise=value,
        value=value,
        heights=np.zeros((count, 0), np.float32),
    )


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3]),
        ([7, 8, 9], []),
        ([100, 101, 102, 2, 3, 4], [100, 101, 102, 2, 3]),  # recordings have times of their own
        ([1, 2, 3, 4, 1, 2, 3, 4], [1, 2, 3, 4, 1, 2, 3]),
        ([], []),
    ],
)
def test_blocks_before_the_first_one_gone_through_and_all_of_recordings_are_known(
    numbers: list[int], kept: list[int]
) -> None:
    assert before(make_blocks(numbers, [1.0] * len(numbers)), 4)["number"].tolist() == kept


def test_another_scale_is_read_rank_by_rank_and_shifted_beyond() -> None:
    value = np.array([2.0, 1.0, 3.0])
    rows = make_blocks([1, 2, 3, 4, 5], [1.0, 1.5, 3.0, 4.0, 0.5])
    found = reread(rows, make_past(value), np.array([4.0, 2.0, 6.0]))
    assert found["maximum"].tolist() == [2.0, 3.0, 6.0, 7.0, 1.5]
    assert found["capped"].tolist() == [2.0, 3.0, 6.0, 7.0, 1.5]
    assert found["cells"][0].tolist() == [2.0 * STEPS_PER_UNIT] + [0] * (found["cells"].shape[1] - 1)
    assert rows["maximum"][0] == 1.0


def test_the_same_scale_changes_nothing_and_without_a_past_there_is_no_other() -> None:
    value = np.array([2.0, 1.0, 3.0])
    rows = make_blocks([1, 2], [1.25, 9.0])
    assert reread(rows, make_past(value), value).tobytes() == rows.tobytes()
    assert reread(rows, past_of("gate", []), np.zeros(0)).tobytes() == rows.tobytes()
