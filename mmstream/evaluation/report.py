"""From the JSON of a measurement to one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmstream.errors import ConfigError
from mmstream.evaluation.page import page
from mmstream.evaluation.report_events import events_page
from mmstream.evaluation.report_video import video_page
from mmstream.evaluation.video import Labels


def html_of(report: Mapping[str, Any], *, title: str, labels: Labels | None = None) -> str:
    """The page of a report of ``eval events`` or ``eval video``; ``labels`` gives the latter its ROC.

    Raises:
        ConfigError: it is neither.
    """
    if "feeds" in report and "curve" in report:
        return page(title, events_page(report))
    if "clips" in report:
        return page(title, video_page(report, labels))
    raise ConfigError("this is no report of 'mmstream eval events' or 'mmstream eval video'; give the file of --json")
