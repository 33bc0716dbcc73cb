"""What Ray Train leaves behind when the process that trains is killed, and how it is put away.

Its workers go with that process, the CPUs that were set aside for them do not: Ray's own cleaner asks the dashboard
whether the training still lives, and a site runs without one.
"""

from __future__ import annotations

import logging

import ray
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

log = logging.getLogger(__name__)


def groups_left() -> list[str]:
    """Placement groups of this job that hold resources; a site makes none but for training."""
    job = ray.get_runtime_context().get_job_id()
    table = placement_group_table()
    return [group for group, about in table.items() if group.endswith(job) and about["state"] != "REMOVED"]


def put_away() -> int:
    """Only while nothing trains: -> how many groups were removed."""
    groups = groups_left()
    for group in groups:
        log.warning("CPUs that were set aside for a training which has died are free again (%s)", group)
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
    return len(groups)
