"""What recording costs and how large footage is: ``python -m tests.training.measure_footage CLIP...``.

Each clip is played as fast as it decodes, in turns without recording and with a burst a minute; the best turns count,
in CPU time of the thread. Sizes are of bursts one after the other.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from mmstream.config import FeedConfig, GateSection
from mmstream.feed_stages import FeedStages
from mmstream.recording import FOOTAGE, SPEC, FootageRecorder
from mmstream.settle import one_thread_per_product
from mmstream.sources.media import MediaSource
from mmstream.storage.media import FolderMediaStore
from mmstream.training.footage import BURST_WINDOWS, Burst
from mmstream.training.footage_bytes import packed
from mmstream.training.footage_files import FootageFiles
from mmstream.types import Packet

NUM_TURNS = 5


def measure(clip: Path, every_s: float, *, records: bool = True) -> tuple[float, int, list[Burst]]:
    """-> (CPU seconds per window of decoding and recording, windows, bursts)."""
    bursts: list[Burst] = []
    with tempfile.TemporaryDirectory() as folder:
        files = FootageFiles("cam", FolderMediaStore(folder), max_bytes=48 << 20, keep_s=1e9)

        def keep(burst: Burst) -> None:
            bursts.append(burst)
            files.push(burst)

        recorder = FootageRecorder("cam", keep, busy_every_s=every_s, idle_every_s=every_s)
        stages = FeedStages("cam", gate=GateSection(), gated=False, live=False, pictures={FOOTAGE: SPEC})
        num_windows, began_s = 0, time.thread_time()
        for item in MediaSource(FeedConfig(id="cam", url=str(clip)), epoch_s=0.0):
            stages.decoder.want(FOOTAGE, wanted=records and recorder.wants)
            for window in stages.push(item) if isinstance(item, Packet) else ():
                num_windows += 1
                if records:
                    recorder.push(window)
        return (time.thread_time() - began_s) / max(1, num_windows), num_windows, bursts


def main() -> None:
    one_thread_per_product()
    for clip in map(Path, sys.argv[1:]):
        _, num_windows, _ = measure(clip, 60.0)  # everything is imported and in the cache
        turns = [(measure(clip, 60.0, records=False)[0], measure(clip, 60.0)[0]) for _ in range(NUM_TURNS)]
        without_s, with_s = map(min, zip(*turns, strict=True))
        _, _, bursts = measure(clip, BURST_WINDOWS)
        sizes = [len(packed(burst).blob) / 1000 for burst in bursts]
        sys.stdout.write(
            f"{clip.name}: {num_windows} windows; {1000 * without_s:.2f} ms CPU per window without, "
            f"{1000 * with_s:.2f} with a burst a minute; {sum(sizes) / max(1, len(sizes)):.0f} KB per burst of "
            f"{sum(len(burst.motion) for burst in bursts) / max(1, len(bursts)):.1f} moving pictures\n"
        )


if __name__ == "__main__":
    main()
