"""Every file in deploy/ is read against the code that it claims to start."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import serve
from ray._common.utils import import_attr

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
    assert rayservice()["rayClusterConfig"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}


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
    assert serve_config()["http_options"]["port"] == API.port
    assert ports_of_head()["serve"] == API.port
    assert {"protocol": "TCP", "port": API.port} in open_ports("mmstream-edge")


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


# --- Kubernetes --------------------------------------------------------------------------------------------


def rayservice() -> Any:
    """The RayService's ``spec``."""
    (found,) = (item["spec"] for item in documents("kuberay/rayservice.yaml") if item["kind"] == "RayService")
    return found


def serve_config() -> Any:
    return yaml.safe_load(rayservice()["serveConfigV2"])


def pods() -> list[Any]:
    """The head's first."""
    cluster = rayservice()["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def ports_of_head() -> dict[str, int]:
    (container,) = pods()[0]["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def open_ports(label: str) -> list[Any]:
    """What the NetworkPolicy opens to pods with that label."""
    (policy,) = (item["spec"] for item in documents("kuberay/rayservice.yaml") if item["kind"] == "NetworkPolicy")
    assert all(pod["metadata"]["labels"].items() >= policy["podSelector"]["matchLabels"].items() for pod in pods())
    (rule,) = (rule for rule in policy["ingress"] if label in rule["from"][0]["podSelector"]["matchLabels"])
    ports: list[Any] = rule["ports"]
    return ports


def test_every_pod_has_the_settings_the_data_the_secrets_and_no_root() -> None:
    claims = {item["metadata"]["name"] for item in documents("kuberay/rayservice.yaml")}
    assert len(pods()) == 3
    for pod in (template["spec"] for template in pods()):
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

    pinned = re.findall(r"^ray(?:\[.*\])?==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned == [rayservice()["rayClusterConfig"]["rayVersion"]] == [ray.__version__]
    readme = (DEPLOY / "README.md").read_text()
    for made in ("secret generic ray-token", "secret generic mmstream", "configmap mmstream-site"):
        assert f"kubectl create {made} " in readme


def test_serve_accepts_the_serve_config_and_misses_nothing_in_it() -> None:
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(serve_config())
    # Unknown keys are let through for the sake of later versions: they must come out as fields.
    assert set(serve_config()) <= set(ServeDeploySchema.model_fields)
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", API.port)
    assert config.proxy_location == "EveryNode"
    for application, written in zip(config.applications, serve_config()["applications"], strict=True):
        assert set(written) <= set(type(application).model_fields)


def test_the_applications_are_the_api_and_the_encoders_of_the_example_site() -> None:
    from services.app import API_APP
    from services.encoders import app_name

    replicas = load_site(EXAMPLE, dict.fromkeys(SITE_VARIABLES, "x")).encoders.replicas
    routes = {application["name"]: application["route_prefix"] for application in serve_config()["applications"]}
    assert routes == {API_APP: "/", **{app_name(name): None for name in replicas}}


def test_the_change_of_a_model_in_the_readme_is_one_that_serve_accepts() -> None:
    from ray.serve.schema import ServeApplicationSchema

    from services.encoders import deployment_name

    (line,) = re.findall(r"`(deployments: \[.*?\])`", (DEPLOY / "README.md").read_text())
    encoder = next(item for item in serve_config()["applications"] if item["route_prefix"] is None)
    changed = ServeApplicationSchema.model_validate({**encoder, **yaml.safe_load(line)})
    assert [item.name for item in changed.deployments] == [deployment_name(encoder["args"]["name"])]
    assert set(changed.deployments[0].user_config or {}) == {"options"}


def test_every_application_is_built_from_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    from services import declarative
    from services.app import API_APP
    from services.encoders import app_name

    built: list[str] = []
    application: Any = serve.deployment(Built)

    def build(name: str) -> serve.Application:
        built.append(name)
        result: serve.Application = application.bind()
        return result

    monkeypatch.setattr(declarative, "start_ledger", lambda _site: built.append("ledger"))
    monkeypatch.setattr(declarative, "start_supervisor", lambda _site: built.append("supervisor"))
    monkeypatch.setattr(declarative, "api_app", lambda _site: build(API_APP))
    monkeypatch.setattr(declarative, "encoder_app", lambda name, _section: build(app_name(name)))
    for name in SITE_VARIABLES:
        monkeypatch.setenv(name, "x")
    for written in serve_config()["applications"]:
        assert written["args"]["site"] == "/etc/mmstream/site.yaml"
        arguments = {**written["args"], "site": str(EXAMPLE)}
        call_user_app_builder_with_args_if_necessary(import_attr(written["import_path"]), arguments)
        assert built.pop() == written["name"]
    assert built == ["ledger", "supervisor"]


class Built:
    """What a builder returns here."""


def test_no_second_cluster_is_ever_made_beside_the_first() -> None:
    assert rayservice()["upgradeStrategy"] == {"type": "None"}


def test_the_operator_finds_the_ports_that_it_asks_for_by_name_and_may_reach_the_dashboard() -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_PORT

    assert ports_of_head() == {"serve": API.port, "dashboard": DEFAULT_DASHBOARD_PORT, "gcs-server": 6379}
    assert open_ports("app.kubernetes.io/name") == [{"protocol": "TCP", "port": DEFAULT_DASHBOARD_PORT}]


def test_every_file_of_this_folder_is_explained() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for path in TEXTS:
        name = str(path.relative_to(DEPLOY))
        assert name == "README.md" or name.startswith("grafana/") or f"`{name}`" in readme, name
