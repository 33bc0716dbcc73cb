"""``mmstream doctor``: what on this machine will stand in the way of a site, each finding with its cure.

Each check is a function of what it looks at, so that it can be shown a broken machine in a test.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from mmstream.config import (
    EncoderSection,
    FeedConfig,
    SiteConfig,
    StoreSection,
    UnderstandingSection,
    references,
    resolve,
)
from mmstream.encoders.batching import build_replica
from mmstream.encoders.hub import fetched, is_hub_id
from mmstream.errors import ConfigError, MmstreamError, StoreError, redact
from mmstream.understanding.speaking import build_speaker, roles_of

Grade = Literal["ok", "warning", "failed"]

OWN_OBJECT_STORE_MB = 256
"""What a site without ``--address`` asks of /dev/shm (`services.app`)."""
CLUSTER_SHARE_OF_MEMORY = 0.3
"""``ray start`` takes this share of a node's memory for its object store, unless told otherwise."""
DECODERS = ("h264", "hevc", "mjpeg", "aac", "pcm_mulaw", "pcm_alaw", "opus")
LEAST_FREE_GB, COMFORTABLE_FREE_GB = 1.0, 10.0
LEAST_RAY = (2, 60)
CLOCK_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: str
    ok: Grade
    sentence: str
    cure: str = ""


def run_checks(site: SiteConfig | None, *, address: str | None) -> list[Finding]:
    """Everything that can be known before a start. Without ``site``: for the default settings, without feeds."""
    site = site or SiteConfig()
    checks: list[Callable[[], Finding]] = [
        lambda: check_python(sys.version_info[:2]),
        lambda: check_ray(metadata.version("ray"), address, os.environ),
        lambda: check_shared_memory(
            Path("/dev/shm"), wanted_mb=object_store_mb(address, psutil.virtual_memory().total)
        ),
        lambda: check_port(site.api.host, site.api.port),
        lambda: check_decoders(missing_decoders()),
        lambda: check_gpu(site.encoders.device),
        lambda: check_clock(kernel_clock()),
        lambda: check_data_dir(site.site.data_dir),
        lambda: check_open_files(site, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        lambda: check_store(site, address, os.environ),
    ]
    elsewhere = address is not None
    models = [
        *check_encoders(site.encoders, elsewhere=elsewhere),
        *check_understanding(site.understanding, elsewhere=elsewhere),
    ]
    return [*(check() for check in checks), *models, *check_feeds(site.feeds, os.environ)]


def check_python(version: tuple[int, int]) -> Finding:
    shown = f"Python {version[0]}.{version[1]} on {platform.system()} {platform.machine()}"
    if version < (3, 11):
        return Finding(
            name="python", ok="failed", sentence=f"{shown} is too old.", cure="Install Python 3.11 or newer."
        )
    return Finding(name="python", ok="ok", sentence=f"{shown}.")


def check_ray(version: str, address: str | None, environment: Mapping[str, str]) -> Finding:
    """Ray's version, and whether a cluster's token will be shown: only a Ray of one's own does so unasked."""
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_RAY:
        cure = f"pip install 'ray[serve]>={LEAST_RAY[0]}.{LEAST_RAY[1]}'"
        return Finding(name="ray", ok="failed", sentence=f"Ray {version} is too old.", cure=cure)
    if address is not None and environment.get("RAY_AUTH_MODE") != "token":
        return Finding(
            name="ray",
            ok="warning",
            sentence=f"Ray {version}; RAY_AUTH_MODE is not 'token', so a cluster that asks for a token refuses us.",
            cure="export RAY_AUTH_MODE=token, here and for every 'ray start' (deploy/README.md).",
        )
    return Finding(name="ray", ok="ok", sentence=f"Ray {version}.")


def object_store_mb(address: str | None, memory_bytes: int) -> int:
    """What Ray's object store will want of /dev/shm."""
    if address is None:
        return OWN_OBJECT_STORE_MB
    return int(memory_bytes * CLUSTER_SHARE_OF_MEMORY / 2**20)


def check_shared_memory(folder: Path, *, wanted_mb: int) -> Finding:
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        sentence = f"Cannot look at {folder}: {error.strerror}."
        return Finding(name="shared memory", ok="warning", sentence=sentence, cure="Ray will use /tmp, much slower.")
    free_mb, total_mb = usage.free // 2**20, usage.total // 2**20
    sentence = f"{folder} has {free_mb} MB free of {total_mb} MB; Ray's object store wants {wanted_mb} MB."
    if free_mb >= wanted_mb:
        return Finding(name="shared memory", ok="ok", sentence=sentence)
    flag = f"{-(-wanted_mb * 5 // 4 // 64) * 64}m"
    cure = f"docker run --shm-size={flag} (in compose.yaml: shm_size: {flag}); until then Ray uses /tmp, much slower."
    return Finding(name="shared memory", ok="warning", sentence=sentence, cure=cure)


def check_port(host: str, port: int) -> Finding:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is free
            listener.bind(place)
    except socket.gaierror:
        sentence, cure = f"api.host {host!r} is no address.", "Set api.host to 127.0.0.1."
    except PermissionError:
        sentence, cure = f"Port {port} is for root only.", "Set api.port to 1024 or more; a proxy can own 443."
    except OSError as error:
        sentence = f"Cannot listen on {host}:{port}: {error.strerror}."
        cure = "Stop what listens there (this very site, perhaps), or set another api.port or api.host."
    else:
        return Finding(name="port", ok="ok", sentence=f"{host}:{port} is free.")
    return Finding(name="port", ok="failed", sentence=sentence, cure=cure)


def missing_decoders() -> list[str]:
    """Those of `DECODERS` that PyAV's FFmpeg was built without."""
    import av

    return [name for name in DECODERS if name not in av.codecs_available]


def check_decoders(missing: Iterable[str]) -> Finding:
    missing = list(missing)
    shown = f"PyAV {metadata.version('av')}"
    if missing:
        return Finding(
            name="decoders",
            ok="failed" if {"h264", "hevc", "aac"} & set(missing) else "warning",
            sentence=f"{shown} cannot decode {', '.join(missing)}.",
            cure="pip install --force-reinstall --only-binary av av; its own FFmpeg has them.",
        )
    return Finding(name="decoders", ok="ok", sentence=f"{shown} decodes {', '.join(DECODERS)}.")


def check_gpu(wanted: Literal["auto", "cpu", "cuda"]) -> Finding:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        use = "not used: encoders.device is cpu" if wanted == "cpu" else "used by replica encoders"
        return Finding(name="gpu", ok="ok", sentence=f"{names}; {use}.")
    if wanted == "cuda":
        cure = "Install the NVIDIA driver and a CUDA build of torch, or set encoders.device to auto."
        return Finding(name="gpu", ok="failed", sentence="encoders.device is cuda and there is no GPU.", cure=cure)
    return Finding(
        name="gpu", ok="ok", sentence="No GPU; replica encoders run on the CPU, which is fine for tens of feeds."
    )


class _Timex(ctypes.Structure):
    """The head of ``struct timex``; the kernel fills 208 bytes on 64-bit Linux."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def kernel_clock() -> tuple[bool, float] | None:
    """(disciplined by NTP or PTP, largest error in seconds), by adjtimex(2); None where it cannot be asked."""
    timex = _Timex()  # modes = 0: only look
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else (not timex.status & CLOCK_UNSYNCHRONISED, timex.maxerror / 1e6)


def check_clock(clock: tuple[bool, float] | None) -> Finding:
    """Feeds of several machines meet on one clock, and alerts carry it."""
    cure = "Run chrony or systemd-timesyncd on the host; in a container, on its host."
    match clock:
        case None:
            sentence = "This kernel does not say whether its clock is synchronised."
            return Finding(name="clock", ok="warning", sentence=sentence, cure=cure)
        case (False, _):
            sentence = "The kernel says that nothing keeps its clock right: alerts may carry wrong times."
            return Finding(name="clock", ok="warning", sentence=sentence, cure=cure)
        case (True, error_s):
            return Finding(name="clock", ok="ok", sentence=f"Synchronised, at most {error_s * 1000:.0f} ms wrong.")


def check_data_dir(data_dir: Path) -> Finding:
    """Rights and room of the folder, or of the nearest one above it that is there already; makes nothing."""
    folder = data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(
            name="data_dir",
            ok="failed",
            sentence=f"Cannot write in {folder}: {error.strerror}.",
            cure=f"Give this user rights there (user id {os.getuid()}), or set site.data_dir to another folder.",
        )
    sentence = f"{folder} can be written; {free_gb:.1f} GB free."
    if free_gb < COMFORTABLE_FREE_GB:
        grade: Grade = "failed" if free_gb < LEAST_FREE_GB else "warning"
        cure = "Make room, or set site.data_dir to a larger disk: clips and learned state go there."
        return Finding(name="data_dir", ok=grade, sentence=sentence, cure=cure)
    return Finding(name="data_dir", ok="ok", sentence=sentence)


def open_files_wanted(site: SiteConfig) -> int:
    """By the hungriest process: 256 to live, 8 per feed of its shard or 1 per open stream, 16 per shard."""
    num_shards = -(-len(site.feeds) // site.shards.feeds_per_shard)
    of_feeds = 8 * min(len(site.feeds), site.shards.feeds_per_shard)
    return 256 + max(of_feeds, site.api.max_streams) + 16 * num_shards


def check_open_files(site: SiteConfig, limit: int) -> Finding:
    wanted = open_files_wanted(site)
    shown = "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
    sentence = f"A process may open {shown} files; {len(site.feeds)} feeds want {wanted}."
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        return Finding(name="open files", ok="ok", sentence=sentence)
    cure = "ulimit -n 65536 before the start (docker run --ulimit nofile=65536; LimitNOFILE=65536 in systemd)."
    return Finding(name="open files", ok="failed", sentence=sentence, cure=cure)


def check_store(site: SiteConfig, address: str | None, environment: Mapping[str, str]) -> Finding:
    try:
        url = resolve(site.store.url, environment)
    except ConfigError as error:
        return Finding(name="store", ok="failed", sentence=f"store.url: {error.sentence}.", cure="export it.")
    if url == "sqlite":
        if address is None:
            return Finding(name="store", ok="ok", sentence="SQLite in data_dir: right for one machine.")
        sentence = "store.url is sqlite, a file of one machine; a cluster's other machines cannot write it."
        return Finding(name="store", ok="warning", sentence=sentence, cure="store.url: redis://HOST:PORT/DB")
    return check_redis(site.model_copy(update={"store": StoreSection(url=url)}))


def check_redis(site: SiteConfig) -> Finding:
    """Reachable, new enough, and told never to forget what it was given."""
    shown = redact(site.store.url)
    try:
        import redis

        from mmstream.storage.redis import RedisStore

        RedisStore.from_site(site, write=False).close()
    except ImportError as error:
        cure = "pip install 'mmstream[cluster]'"
        return Finding(name="store", ok="failed", sentence=f"Cannot talk to {shown}: {error}.", cure=cure)
    except StoreError as error:
        cure = "Start it, open its port to this machine, or mend store.url."
        return Finding(name="store", ok="failed", sentence=f"{error.sentence}.", cure=cure)
    client: Any = redis.Redis.from_url(site.store.url, decode_responses=True, socket_timeout=5)
    with contextlib.closing(client):
        try:
            settings = client.config_get("maxmemory*", "appendonly")
        except redis.RedisError:
            sentence = f"{shown} answers and does not show its settings."
            cure = "Ask its operator for 'maxmemory-policy noeviction' and 'appendonly yes'."
            return Finding(name="store", ok="warning", sentence=sentence, cure=cure)
    return check_redis_settings(shown, settings)


def check_redis_settings(shown: str, settings: Mapping[str, str]) -> Finding:
    policy = settings.get("maxmemory-policy", "unknown")
    if policy != "noeviction":
        sentence = f"{shown} drops data when its memory is full (maxmemory-policy {policy}): alerts would vanish."
        return Finding(name="store", ok="failed", sentence=sentence, cure="Set maxmemory-policy noeviction.")
    if settings.get("appendonly") != "yes":
        sentence = f"{shown} forgets its last minutes or all when it restarts (appendonly is not yes)."
        return Finding(name="store", ok="warning", sentence=sentence, cure="Set appendonly yes.")
    return Finding(name="store", ok="ok", sentence=f"{shown} answers; noeviction, appendonly.")


def check_encoders(section: EncoderSection, *, elsewhere: bool) -> list[Finding]:
    """Loads every replica encoder once, as its replicas will; fetches nothing. ``elsewhere``: they run on a cluster."""
    return [
        _check_model("encoders", name, section.options.get(name, {}), build_replica, elsewhere=elsewhere)
        for name in section.replicas
    ]


def check_understanding(section: UnderstandingSection, *, elsewhere: bool) -> list[Finding]:
    """The same for the models that are asked about single moments."""
    return [
        _check_model(
            "understanding",
            name,
            section.options.get(name, {}),
            functools.partial(build_speaker, roles=roles),
            elsewhere=elsewhere,
        )
        for name, roles in roles_of(section).items()
    ]


def _check_model(
    where: str, name: str, options: Mapping[str, Any], build: Callable[..., Any], *, elsewhere: bool
) -> Finding:
    folder = str(options.get("folder", ""))
    if folder and is_hub_id(folder) and fetched(folder) is None:
        sentence = f"{name} wants {folder}, which is not on this machine: it is fetched at the first start."
        cure = f"mmstream models pull --model {folder}, or give a folder."
        return Finding(name=where, ok="warning", sentence=sentence, cure=cure)
    try:
        model = build(name, options, "cpu").model
    except (MmstreamError, OSError, RuntimeError) as error:
        sentence = f"The site would run without {name}: {redact(str(error))}."
        everywhere = ", or see that every node has it" if elsewhere else ""
        cure = f"Mend {where}.options.{name} in site.yaml{everywhere}."
        return Finding(name=where, ok="warning" if elsewhere else "failed", sentence=sentence, cure=cure)
    return Finding(name=where, ok="ok", sentence=f"{name} can be loaded: {model}.")


def check_feeds(feeds: Iterable[FeedConfig], environment: Mapping[str, str]) -> list[Finding]:
    """One finding for all feeds that have what they need, one for each that lacks something."""
    feeds = list(feeds)
    findings = []
    for feed in feeds:
        unset = [name for name in references(feed.url) if name not in environment]
        lost = [name for name in (feed.tls_ca_file, feed.captions, *feed.history) if name and not Path(name).is_file()]
        if unset:
            sentence = f"{feed.id} needs the environment variable {', '.join(unset)}, which is not set."
            findings.append(Finding(name="feeds", ok="failed", sentence=sentence, cure="export it before the start."))
        if lost:
            sentence = f"{feed.id} names {', '.join(lost)}, which is not there."
            findings.append(Finding(name="feeds", ok="failed", sentence=sentence, cure="Mend the path in site.yaml."))
    if feeds and not findings:
        sentence = f"Variables and files of all feeds ({len(feeds)}) are there; 'mmstream probe URL' opens one."
        findings.append(Finding(name="feeds", ok="ok", sentence=sentence))
    return findings
