"""Old evidence goes, new evidence and everything else stays."""

from __future__ import annotations

from pathlib import Path

from mmstream.storage.media import FolderMediaStore
from mmstream.storage.retention import DAY_S, evidence_folder, prune
from mmstream.types import alert_id


def test_only_evidence_of_alerts_older_than_asked_for_is_deleted(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    now_s = 100 * DAY_S
    old, new = round(60 * DAY_S * 1000), round(95 * DAY_S * 1000)
    kept = ["feeds/cam/last.jpg", "feeds/cam/learned.npz", f"alerts/cam_{new}/final.mp4", "alerts/odd_name/final.mp4"]
    for key in [*kept, f"alerts/cam_{old}/final.mp4", f"alerts/my_cam_{old}/first.jpg"]:
        media.put(key, b"x")
    assert prune(media, now_s=now_s, keep_days=30) == 2
    assert sorted([*media.keys("feeds/"), *media.keys("alerts/")]) == sorted(kept)
    assert prune(media, now_s=now_s, keep_days=30) == 0


def test_alerts_of_a_cameras_own_faults_and_pictures_of_normal_moments_go_too(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    old = round(60 * DAY_S * 1000)
    for alert in (alert_id("cam", old / 1000), alert_id("my_cam", old / 1000, "frozen"), alert_id("cam", -1.5)):
        media.put(f"{evidence_folder(alert)}/normal-1.jpg", b"x")
    media.put(f"feeds/cam/moments/{old}.jpg", b"x")
    assert prune(media, now_s=100 * DAY_S, keep_days=30) == 3
    assert media.keys("") == [f"feeds/cam/moments/{old}.jpg"], "moments are thinned by who writes them"
