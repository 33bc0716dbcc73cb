"""How long a recording is, before it is read."""

from __future__ import annotations

import av

from mmstream.config import FeedConfig
from mmstream.errors import Damaged
from mmstream.sources.connect import explain, open_container


def length_s(feed: FeedConfig, path: str) -> float:
    """Seconds that the file at ``path`` promises.

    Raises:
        SourceError: it cannot be opened, or does not say.
    """
    try:
        with open_container(path, feed) as container:
            duration = container.duration
    except (av.error.FFmpegError, OSError, ValueError) as problem:
        raise explain(problem, path, feed=feed) from None
    if duration is None:
        raise Damaged(f"{path} does not say how long it is; remux it, for example into MP4")
    return duration / 1e6
