from __future__ import annotations

from pathlib import Path

from mmstream.config import FeedConfig, GateSection
from mmstream.feed_stages import FeedStages
from mmstream.sources.media import MediaSource
from mmstream.types import Packet, Window
from tests.rtsp.clips import make_clip


def test_every_window_has_the_sizes_of_its_own_pictures_and_older_ones_are_forgotten(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=12)
    stages = FeedStages("cam", gate=GateSection(), gated=False, live=False, pictures={})
    sent: list[Packet] = []
    windows: list[Window] = []
    for item in MediaSource(FeedConfig(id="cam", url=str(clip)), epoch_s=0.0):
        if isinstance(item, Packet):
            sent += [item] if item.kind == "video" else []
            windows += stages.push(item)
    assert len(stages._sizes) < len(sent) / 2
    windows += stages.flush()
    assert len(windows) > 8
    for window in windows:
        inside = sorted((p.start_s, p.size_bytes, p.is_key) for p in sent if window.start_s <= p.start_s < window.end_s)
        assert sorted(window.packets) == inside
