"""The compose files: valid for a compose client, and as locked down as they claim."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "docker-compose.yml"
CPU = ROOT / "docker" / "compose.cpu.yml"
APP = ROOT / "docker" / "app.Dockerfile"
RESET = object()

Config = dict[str, Any]


class ComposeLoader(yaml.SafeLoader):
    """YAML with the tag by which an override takes something out."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: RESET)


def load(*paths: Path) -> Config:
    """Merge compose files the way a client does: mappings by key, lists one after the other."""
    merged: Config = {}
    for path in paths:
        merged = _laid_over(merged, yaml.load(path.read_text(encoding="utf-8"), ComposeLoader))
    return merged


def _laid_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        keys = [key for key in {**below, **above} if above.get(key) is not RESET]
        return {key: _laid_over(below.get(key), above[key]) if key in above else below[key] for key in keys}
    if isinstance(below, list) and isinstance(above, list):
        return below + above
    return above


@pytest.fixture(params=["gpu", "cpu"])
def config(request: pytest.FixtureRequest) -> Config:
    return load(GPU) if request.param == "gpu" else load(GPU, CPU)


def test_a_compose_client_accepts_the_files(config: Config, tmp_path: Path) -> None:
    """Debian's client is of 2021; what the format got later is taken out before it is asked."""
    client = shutil.which("docker-compose")
    if client is None:
        pytest.skip("there is no docker-compose on this machine")
    older = copy.deepcopy(config)
    del older["name"]
    for service in older["services"].values():
        del service["deploy"]["resources"]["limits"]["pids"]
        for volume in service.get("volumes", ()):
            if isinstance(volume, dict):
                del volume["bind"]
    file = tmp_path / "docker-compose.yml"
    file.write_text(yaml.safe_dump(older), encoding="utf-8")

    asked = subprocess.run(
        [client, "--profile", "train", "--profile", "cluster", "-f", file, "config", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (asked.returncode, asked.stderr) == (0, "")


def test_every_service_is_locked_down(config: Config) -> None:
    for name, service in config["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        writable = {mount.split(":")[0] for mount in service["tmpfs"]}
        assert writable == {"/tmp"} | ({"/var/run/postgresql"} if name == "ledger" else set()), name
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        assert not {"privileged", "cap_add", "pid", "ipc"} & set(service), name
        assert service.get("user") == ("postgres" if name == "ledger" else None), name


def test_the_service_is_reachable_from_this_machine_only_unless_said_otherwise(config: Config) -> None:
    assert config["services"]["app"]["ports"] == ["${PUBLISH:-127.0.0.1:8000}:8000"]
    assert "ports" not in config["services"]["trainer"]
    assert config["services"]["trainer"]["network_mode"] == "none"


def test_the_trainer_writes_the_models_that_the_service_reads(config: Config) -> None:
    assert "models:/models:ro" in config["services"]["app"]["volumes"]
    assert "models:/models" in config["services"]["trainer"]["volumes"]
    assert {"models", "runs"} <= set(config["volumes"])


def test_the_trainer_starts_only_when_asked_for(config: Config) -> None:
    assert config["services"]["trainer"]["profiles"] == ["train"]
    assert "profiles" not in config["services"]["app"]


def test_the_service_gets_one_gpu_and_refuses_to_start_without_it() -> None:
    app = load(GPU)["services"]["app"]

    (device,) = app["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert app["environment"]["SIMTRUE_DEVICE"] == "cuda"


def test_the_override_for_the_processor_asks_for_no_gpu() -> None:
    services = load(GPU, CPU)["services"]

    for name, service in services.items():
        assert set(service["deploy"]["resources"]) == {"limits"}, name
    assert services["app"]["environment"]["SIMTRUE_DEVICE"] == "cpu"
    assert services["app"]["build"]["args"] == {"BASE_IMAGE": "python:3.12-slim"}
    assert services["app"]["build"]["dockerfile"] == "docker/app.Dockerfile"


def test_requests_in_flight_may_finish_before_the_container_is_killed(config: Config) -> None:
    grace_s = int(config["services"]["app"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > Settings.model_fields["shutdown_grace_s"].default


def test_every_variable_that_the_files_set_is_a_setting_of_the_service(config: Config) -> None:
    known = {variable_of(field) for field in Settings.model_fields}

    for name in ("app", "replica"):
        assert set(config["services"][name]["environment"]) <= known, name


def test_jobs_are_kept_in_a_volume_that_belongs_to_one_ledger(config: Config) -> None:
    services = config["services"]
    (folder,) = re.findall(r"SIMTRUE_DATA=(\S+)", APP.read_text(encoding="utf-8"))

    assert f"jobs:{folder}" in services["app"]["volumes"]
    for name in ("replica", "ray-worker"):
        assert f"cluster-jobs:{folder}" in services[name]["volumes"], name
    assert {"jobs", "cluster-jobs", "ledger"} <= set(config["volumes"])


def test_the_cluster_starts_only_when_asked_for_and_is_reached_through_its_replicas_only(
    config: Config,
) -> None:
    cluster = {name: one for name, one in config["services"].items() if one.get("profiles") == ["cluster"]}

    assert set(cluster) == {"ledger", "replica", "ray-head", "ray-worker"}
    assert [name for name, service in cluster.items() if "ports" in service] == ["replica"]
    assert cluster["replica"]["ports"] == ["${PUBLISH_REPLICAS:-127.0.0.1:8001-8002}:8000"]
    assert all(service["networks"] == ["cluster"] for service in cluster.values())
    assert all("networks" not in config["services"][name] for name in ("app", "trainer"))


def test_the_ledger_has_no_password_but_the_one_that_is_given(config: Config) -> None:
    assert config["services"]["ledger"]["environment"]["POSTGRES_PASSWORD"] == "${DATABASE_PASSWORD:-}"
    assert (
        ":${DATABASE_PASSWORD:-}@ledger/" in config["services"]["replica"]["environment"]["SIMTRUE_DATABASE"]
    )


def test_what_the_cluster_is_told_about_ray_fits_together(config: Config) -> None:
    services = config["services"]
    told = Settings(
        executor=services["replica"]["environment"]["SIMTRUE_EXECUTOR"],
        ray_address=services["replica"]["environment"]["SIMTRUE_RAY_ADDRESS"],
    )

    assert told.ray_address == "ray://ray-head:10001"
    assert {"--port=6379", "--ray-client-server-port=10001"} <= set(services["ray-head"]["command"])
    assert "--address=ray-head:6379" in services["ray-worker"]["entrypoint"]


def test_what_the_services_are_built_from_exists(config: Config) -> None:
    built = {name: one for name, one in config["services"].items() if "build" in one}

    assert set(config["services"]) - set(built) == {"ledger"}
    for name, service in built.items():
        assert (ROOT / service["build"]["dockerfile"]).is_file(), name
