"""The doctor is shown broken machines, one defect at a time."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mmstream.config import SiteConfig
from services import doctor
from services.doctor import Finding, check_redis_settings, run_checks
from tests.storage.servers import redis_server


def make_site(**sections: Any) -> SiteConfig:
    return SiteConfig.model_validate(sections)


def graded(finding: Finding, grade: str, *words: str) -> None:
    """The grade, the words somewhere in it, and a cure exactly where one is needed."""
    text = f"{finding.sentence} {finding.cure}"
    assert finding.ok == grade, text
    assert bool(finding.cure) == (grade != "ok"), text
    assert finding.sentence.endswith(".")
    for word in words:
        assert word in text, text


def test_a_machine_that_runs_these_tests_passes_but_for_what_the_machine_cannot_help(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = make_site(site={"data_dir": tmp_path / "data"}, api={"port": port})
    findings = {finding.name: finding for finding in run_checks(site, address=None)}
    assert list(findings) == [
        *("python", "ray", "shared memory", "port", "decoders", "gpu", "clock", "data_dir", "open files", "store"),
        "encoders",
    ]
    for name in ("python", "ray", "port", "decoders", "gpu", "store", "encoders"):
        graded(findings[name], "ok")
    assert not (tmp_path / "data").exists()


def test_without_a_site_the_defaults_are_checked() -> None:
    assert "feeds" not in {finding.name for finding in run_checks(None, address=None)}


def test_an_old_python_and_an_old_ray_are_named() -> None:
    graded(doctor.check_python((3, 10)), "failed", "3.10", "3.11")
    graded(doctor.check_ray("2.9.3", None, {}), "failed", "2.9.3", "2.60")
    graded(doctor.check_ray("2.60.0", None, {}), "ok")
    graded(doctor.check_ray("3.0.0rc1", None, {}), "ok")


def test_joining_a_cluster_without_token_mode_is_a_warning() -> None:
    graded(doctor.check_ray("2.60.0", "auto", {}), "warning", "RAY_AUTH_MODE")
    graded(doctor.check_ray("2.60.0", "auto", {"RAY_AUTH_MODE": "token"}), "ok")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_dockers_64_mb_of_shared_memory_are_too_few_and_the_flag_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(64 * 2**20, 0, 64 * 2**20))
    wanted_mb = doctor.object_store_mb(None, 24 * 2**30)
    graded(doctor.check_shared_memory(Path("/dev/shm"), wanted_mb=wanted_mb), "warning", "--shm-size=320m", "64 MB")


def test_a_cluster_node_wants_shared_memory_by_its_size() -> None:
    assert doctor.object_store_mb("auto", 100 * 2**30) == 30 * 1024


def test_no_shared_memory_at_all_is_a_warning(tmp_path: Path) -> None:
    graded(doctor.check_shared_memory(tmp_path / "none", wanted_mb=1), "warning", "none")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        graded(doctor.check_port("127.0.0.1", port), "failed", str(port), "api.port")
    graded(doctor.check_port("127.0.0.1", port), "ok", str(port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_of_this_machine_is_named(host: str) -> None:
    graded(doctor.check_port(host, 8000), "failed", host, "api.host")


def test_a_missing_decoder_fails_when_cameras_commonly_need_it() -> None:
    assert doctor.missing_decoders() == []
    graded(doctor.check_decoders(["hevc", "opus"]), "failed", "hevc, opus")
    graded(doctor.check_decoders(["opus"]), "warning", "opus")


def test_a_gpu_that_is_asked_for_and_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    graded(doctor.check_gpu("auto"), "ok", "CPU")
    graded(doctor.check_gpu("cuda"), "failed", "cuda", "driver")


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"H{index}00")
    graded(doctor.check_gpu("auto"), "ok", "H000, H100", "used")
    graded(doctor.check_gpu("cpu"), "ok", "not used")


def test_a_clock_that_nothing_keeps_is_a_warning() -> None:
    graded(doctor.check_clock((True, 0.0125)), "ok", "12 ms")
    graded(doctor.check_clock((False, 16.0)), "warning", "chrony")
    graded(doctor.check_clock(None), "warning", "does not say")


def test_the_kernel_is_asked_and_answers_a_possible_error() -> None:
    clock = doctor.kernel_clock()
    if clock is None:
        pytest.skip("this kernel does not answer adjtimex")
    assert 0 <= clock[1] < 1e6


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    graded(doctor.check_data_dir(tmp_path / "data"), "failed", str(tmp_path), "data_dir")


def test_a_data_dir_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    graded(doctor.check_data_dir(tmp_path / "file"), "failed", "file", "data_dir")


@pytest.mark.parametrize(("free_gb", "grade"), [(0.5, "failed"), (5.0, "warning"), (50.0, "ok")])
def test_a_disk_that_is_nearly_full_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_gb: float, grade: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(10**12, 0, int(free_gb * 1e9)))
    graded(doctor.check_data_dir(tmp_path / "not" / "there"), grade, f"{free_gb} GB")
    assert list(tmp_path.iterdir()) == []


def test_many_feeds_need_more_open_files() -> None:
    few = make_site()
    many = make_site(feeds=[{"id": f"c{number}", "url": "push:"} for number in range(1000)])
    assert doctor.open_files_wanted(few) == 256 + 64
    assert doctor.open_files_wanted(many) == 256 + 8 * 32 + 16 * 32
    graded(doctor.check_open_files(many, 1000), "failed", "1000 feeds", "65536")
    graded(doctor.check_open_files(many, 1024), "ok")
    graded(doctor.check_open_files(many, resource.RLIM_INFINITY), "ok", "unlimited")


def test_sqlite_is_for_one_machine() -> None:
    graded(doctor.check_store(make_site(), None, {}), "ok")
    graded(doctor.check_store(make_site(), "auto", {}), "warning", "redis://")


def test_a_store_url_whose_variable_is_not_set_is_named() -> None:
    graded(doctor.check_store(make_site(store={"url": "${STORE}"}), None, {}), "failed", "STORE")


def test_a_redis_that_is_not_there_is_named_without_its_password() -> None:
    site = make_site(store={"url": "redis://:${PASSWORD}@127.0.0.1:1/0"})
    finding = doctor.check_store(site, "auto", {"PASSWORD": "s3cr3t"})
    graded(finding, "failed", "127.0.0.1:1")
    assert "s3cr3t" not in repr(finding)


@pytest.mark.redis
def test_a_real_redis_passes_when_it_keeps_what_it_is_given(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--appendonly", "yes", "--maxmemory-policy", "noeviction") as url:
        graded(doctor.check_store(make_site(store={"url": url}), "auto", {}), "ok", "answers")
    with redis_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as url:
        graded(doctor.check_store(make_site(store={"url": url}), "auto", {}), "failed", "allkeys-lru", "noeviction")


@pytest.mark.redis
def test_a_redis_that_hides_its_settings_is_a_warning(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--rename-command", "CONFIG", "") as url:
        graded(doctor.check_store(make_site(store={"url": url}), "auto", {}), "warning", "noeviction")


def test_a_redis_that_forgets_at_a_restart_is_a_warning() -> None:
    graded(check_redis_settings("it", {"maxmemory-policy": "noeviction", "appendonly": "no"}), "warning", "appendonly")


def test_each_feed_that_lacks_something_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    site = make_site(
        feeds=[
            {"id": "gate", "url": "rtsp://${CAM_USER}:${CAM_PASSWORD}@10.0.0.7/1"},
            {"id": "yard", "url": "push:", "history": [str(tmp_path / "none.mp4")]},
            {"id": "good", "url": "push:"},
        ]
    )
    gate, yard = doctor.check_feeds(site.feeds, {"CAM_USER": "guard"})
    graded(gate, "failed", "gate", "CAM_PASSWORD", "export")
    assert "CAM_USER" not in gate.sentence
    graded(yard, "failed", "yard", "none.mp4")
    (good,) = doctor.check_feeds(site.feeds[2:], {})
    graded(good, "ok", "all feeds (1)")
