"""Every file in deploy/ is read against the code that it claims to start."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmstream.config import ApiSection, SiteConfig, load_site, references

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
TEXTS = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
YAMLS = [path for path in TEXTS if path.suffix == ".yaml"]
EXAMPLE = DEPLOY / "site.example.yaml"
API = ApiSection()
EXAMPLE_DATA_DIR = SiteConfig.model_validate(yaml.safe_load(EXAMPLE.read_text())).site.data_dir
SITE_VARIABLES = set(references("\n".join(re.sub(r"#.*", "", line) for line in EXAMPLE.read_text().splitlines())))
OF_OTHERS = {"SITE_ADDRESS", "RAY_AUTH_TOKEN", "RAY_HEAD_IP", "EXTRAS", "NAME"}
"""Read by the proxy and by Ray; the image's build argument; the README's placeholder."""


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def strings(node: Any) -> Iterator[str]:
    """Every text in a YAML tree."""
    match node:
        case str():
            yield node
        case dict() | list():
            for value in node.values() if isinstance(node, dict) else node:
                yield from strings(value)


def command_lines() -> Iterator[tuple[str, str]]:
    """(file, text) of everything that a shell will see."""
    for path in YAMLS:
        for document in documents(str(path.relative_to(DEPLOY))):
            yield from ((path.name, text) for text in strings(document))
    readme = (DEPLOY / "README.md").read_text()
    yield from (("README.md", code) for code in re.findall(r"`([^`\n]+)`", readme.replace("```", "")))
    for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL):
        yield from (("README.md", line) for line in block.splitlines())
    yield ("Dockerfile", " ".join([*in_dockerfile("ENTRYPOINT"), *in_dockerfile("CMD")]))
    yield ("compose.yaml", "mmstream " + " ".join(documents("compose.yaml")[0]["services"]["mmstream"]["command"]))


def calls_of(program: str) -> list[Any]:
    found = []
    for file, text in command_lines():
        for call in re.findall(rf"(?:^|[\s'\"]){program} ([a-z][^;&|#'\"\n]*)", text):
            words = call.split()
            found.append(pytest.param(words, id=f"{file}: {program} {' '.join(words)}"))
    return found


def in_dockerfile(instruction: str) -> list[str]:
    """The words of the last ``instruction``, in either of its forms."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    value = re.findall(rf"^{instruction} (.+)$", text, re.MULTILINE)[-1]
    words: list[str] = json.loads(value) if value.startswith("[") else value.split()
    return words


# --- the settings ------------------------------------------------------------------------------------------


def test_the_example_site_is_valid_and_asks_for_its_secrets_by_name() -> None:
    site = load_site(EXAMPLE, dict.fromkeys(SITE_VARIABLES, "x"))
    assert {"REDIS_HOST", "REDIS_PASSWORD", "CAMERA_USER", "CAMERA_PASSWORD"} == SITE_VARIABLES
    assert site.store.url.startswith("redis://:${REDIS_PASSWORD}@")
    assert site.api.port == API.port
    assert site.site.data_dir == Path("/var/lib/mmstream")


def test_the_example_camera_is_the_one_that_compose_renders() -> None:
    feed = load_site(EXAMPLE, dict.fromkeys(SITE_VARIABLES, "x")).feeds[0]
    cameras = documents("compose.yaml")[0]["services"]["cameras"]["environment"]
    assert feed.url == "rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@cameras:8554/gate"
    assert cameras["MTX_PATHS_GATE_RUNONINIT"].endswith("${CAMERA_USER}:${CAMERA_PASSWORD}@127.0.0.1:8554/gate")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_that_is_read_is_one_that_the_site_needs(path: Path) -> None:
    used = re.findall(r"(?<!\$)\$\{([A-Z_]+)", path.read_text())
    assert set(used) <= SITE_VARIABLES | OF_OTHERS
    passed = re.findall(r"^([A-Z_]+)=\.\.\.", path.read_text(), re.MULTILINE)
    assert set(passed) <= SITE_VARIABLES | OF_OTHERS


def test_the_containers_get_every_variable_that_the_site_needs() -> None:
    environment = documents("compose.yaml")[0]["services"]["mmstream"]["environment"]
    assert set(environment) == SITE_VARIABLES
    listed = set(re.findall(r"^([A-Z_]+)=\.\.\.", (DEPLOY / "README.md").read_text(), re.MULTILINE))
    assert listed == SITE_VARIABLES | {"RAY_AUTH_TOKEN"}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    for name, value in re.findall(r"(?i)(password|token|secret|_pass|_auth)\w*[ \t]*[:=][ \t]*(\S+)", path.read_text()):
        harmless = ("$", "...", "%s", '"$', "{", "token", "ray-token")
        assert value.startswith(harmless), f"{path.name}: {name} is {value}"
    for credentials in re.findall(r"://([^/\s`']*)@", path.read_text()):
        assert re.fullmatch(r"(\$\{\w+\})?:\$\{\w+\}", credentials), f"{path.name}: {credentials}"


# --- the commands ------------------------------------------------------------------------------------------


def walk(command: Any, words: list[str]) -> None:
    """Follow groups to their command; each option must be one of its own."""
    while hasattr(command, "commands"):
        assert words, f"{command.name} needs a command"
        assert words[0] in command.commands, f"there is no {command.name} {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    options = {name: parameter for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    num_arguments = sum(parameter.param_type_name == "argument" for parameter in command.params)
    position = 0
    for word in (rest := iter(words)):
        if word.startswith("-"):
            name, _, value = word.partition("=")
            assert name in options, f"{command.name} has no {name}"
            if not options[name].is_flag and not value:
                next(rest)
        else:
            position += 1
    assert position <= num_arguments, f"{command.name} takes {num_arguments} arguments, got {words}"


@pytest.mark.parametrize("words", calls_of("mmstream"))
def test_every_mmstream_command_exists_with_its_options(words: list[str]) -> None:
    import typer.main

    from services.cli import app

    walk(typer.main.get_command(app), words)


@pytest.mark.parametrize("words", calls_of("ray"))
def test_every_ray_command_exists_with_its_options(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    walk(cli, words)


def test_the_commands_that_matter_were_looked_at() -> None:
    mmstream = {" ".join(parameter.values[0]) for parameter in calls_of("mmstream")}
    assert {"demo", "run site.yaml", "run /etc/mmstream/site.yaml --address auto", "doctor site.yaml"} <= mmstream
    ray = {parameter.values[0][0] for parameter in calls_of("ray")}
    assert {"up", "exec", "start", "stop"} <= ray


def test_every_ray_start_of_ours_asks_for_the_token() -> None:
    cluster = documents("cluster.yaml")[0]
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]
        assert ". /etc/mmstream/env" in commands[-1]
    raycluster, site = (documents("kuberay/raycluster.yaml")[index] for index in (0, 1))
    assert raycluster["spec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    environment = site["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "RAY_AUTH_MODE", "value": "token"} in environment


# --- the image ---------------------------------------------------------------------------------------------


def test_everything_that_the_image_copies_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"pyproject.toml", "constraints.txt", "mmstream", "services"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_has_a_python_that_the_package_accepts_and_is_not_root() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (image,) = in_dockerfile("FROM")
    assert image == f"python:{project['requires-python'].removeprefix('>=')}-slim"
    assert in_dockerfile("USER") == ["10001"]
    assert in_dockerfile("ENTRYPOINT")[0] in project["scripts"]
    assert "EXTRAS=cluster" in (DEPLOY / "Dockerfile").read_text()
    assert "cluster" in project["optional-dependencies"]


def test_the_port_is_the_same_everywhere() -> None:
    assert in_dockerfile("EXPOSE") == [str(API.port)]
    assert f":{API.port}/healthz" in (DEPLOY / "Dockerfile").read_text()
    assert f"reverse_proxy mmstream:{API.port}\n" in (DEPLOY / "Caddyfile").read_text()
    service = next(item for item in documents("kuberay/raycluster.yaml") if item["kind"] == "Service")
    assert {service["spec"]["ports"][0][name] for name in ("port", "targetPort")} == {API.port}


def test_the_health_check_asks_a_path_that_needs_no_key() -> None:
    from services.auth import OPEN_PATHS

    assert "/healthz" in OPEN_PATHS


# --- compose -----------------------------------------------------------------------------------------------


def test_only_the_proxy_is_published_and_shared_memory_is_large_enough() -> None:
    from services.doctor import OWN_OBJECT_STORE_MB

    compose = documents("compose.yaml")[0]
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["proxy"]
    assert int(compose["services"]["mmstream"]["shm_size"].removesuffix("m")) > OWN_OBJECT_STORE_MB
    assert set(compose["services"]["proxy"]["networks"]).isdisjoint(compose["services"]["redis"]["networks"])


def test_what_compose_mounts_and_builds_is_there_or_made_by_the_readme() -> None:
    compose = documents("compose.yaml")[0]
    build = compose["services"]["mmstream"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    readme = (DEPLOY / "README.md").read_text()
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            made = f"cp site.example.yaml {source.removeprefix('./')}" in readme
            assert source in compose["volumes"] or (DEPLOY / source).is_file() or made, source
        assert set(service["networks"]) <= set(compose["networks"])


def test_redis_is_told_what_the_doctor_asks_of_it() -> None:
    from services.doctor import check_redis_settings

    words = documents("compose.yaml")[0]["services"]["redis"]["command"][-1].split()
    settings = {word.removeprefix("--"): words[index + 1] for index, word in enumerate(words) if word.startswith("--")}
    assert check_redis_settings("it", settings).ok == "ok"


# --- clusters ----------------------------------------------------------------------------------------------


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(documents("cluster.yaml")[0]))


def pods(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = document["spec"]
    if document["kind"] == "RayCluster":
        yield spec["headGroupSpec"]["template"]["spec"]
        yield from (group["template"]["spec"] for group in spec["workerGroupSpecs"])
    elif document["kind"] == "Deployment":
        yield spec["template"]["spec"]


def test_every_pod_has_the_settings_the_data_the_secrets_and_no_root() -> None:
    found = [pod for document in documents("kuberay/raycluster.yaml") for pod in pods(document)]
    assert len(found) == 4
    claims = {item["metadata"]["name"] for item in documents("kuberay/raycluster.yaml")}
    for pod in found:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["image"] == "mmstream:local"
        assert {"secretRef": {"name": "mmstream"}} in container["envFrom"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert (mounts["site"], mounts["data"]) == ("/etc/mmstream", str(EXAMPLE_DATA_DIR))
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert set(mounts) <= set(volumes)
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] in claims


def test_the_ray_version_and_the_readmes_secrets_are_those_of_the_cluster() -> None:
    import ray

    (raycluster,) = (item for item in documents("kuberay/raycluster.yaml") if item["kind"] == "RayCluster")
    pinned = re.findall(r"^ray(?:\[.*\])?==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned == [raycluster["spec"]["rayVersion"]] == [ray.__version__]
    readme = (DEPLOY / "README.md").read_text()
    for made in ("secret generic ray-token", "secret generic mmstream", "configmap mmstream-site"):
        assert f"kubectl create {made} " in readme


def test_every_file_of_this_folder_is_explained() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for path in TEXTS:
        name = str(path.relative_to(DEPLOY))
        assert name == "README.md" or name.startswith("grafana/") or f"`{name}`" in readme, name
