"""What the service tells about itself: models, health, metrics, documentation."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

Picture = Callable[..., bytes]


def _white() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), 255).save(file, "PNG")
    return file.getvalue()


def test_models_are_listed_with_card_provider_and_default(client: httpx.Client) -> None:
    listed = client.get("/models").json()

    assert listed["default"] == "grey"
    assert [model["name"] for model in listed["models"]] == ["depth", "grey", "noisy", "rgb", "wide"]
    grey = listed["models"][1]
    assert (grey["version"], grey["state"], grey["provider"]) == (1, "serving", "CPUExecutionProvider")
    assert grey["card"]["channels"] == 1
    assert grey["last_inference"]["ok"] is True
    assert len(grey["sha256"]) == 64


def test_a_refused_model_is_listed_with_its_reason(
    serve: Any, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    write_model(tmp_path, "good")
    write_model(tmp_path, "bad").write_bytes(b"not ONNX")

    with serve(tmp_path) as (client, _):
        bad = client.get("/models").json()["models"][0]
        answer = client.post("/models/bad/load")

    assert (bad["name"], bad["state"], bad["card"]) == ("bad", "refused", None)
    assert "cannot be loaded" in bad["detail"]
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:simtrue:problem:bad-model"


def test_models_are_unloaded_and_loaded_in_another_version(
    serve: Any, tmp_path: Path, write_model: Callable[..., Path], picture: Picture
) -> None:
    for version in (1, 2):
        write_model(tmp_path, "m", version, offset=10 * version)

    def version_that_answers(client: httpx.Client) -> str:
        return client.post("/refine", files={"image": picture()}).headers.get("simtrue-model", "none")

    with serve(tmp_path) as (client, _):
        assert version_that_answers(client) == "m/2"
        assert client.post("/models/m/load", json={"version": 1}).status_code == 200
        assert version_that_answers(client) == "m/1"
        assert client.post("/models/m/unload").json()["default"] is None
        assert version_that_answers(client) == "none"
        assert client.get("/health/ready").status_code == 503
        assert client.post("/models/m/load").status_code == 200
        assert version_that_answers(client) == "m/2"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/none/load", {}, 404),
        ("/models/none/unload", None, 404),
        ("/models/grey/load", {"version": 9}, 404),
        ("/models/grey/load", {"version": "x"}, 400),
        ("/models/grey/load", {"versoin": 1}, 400),
    ],
)
def test_a_wrong_request_about_models_is_refused(
    client: httpx.Client, path: str, body: Any, status: int
) -> None:
    answer = client.post(path, json=body) if body is not None else client.post(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_model_the_service_lives_but_is_not_ready(
    serve: Any, tmp_path: Path, picture: Picture
) -> None:
    with serve(tmp_path) as (client, _):
        assert client.get("/health/live").json() == {"status": "live"}
        ready = client.get("/health/ready")
        refined = client.post("/refine", files={"image": picture()})
        metrics = client.get("/metrics").text

    assert ready.status_code == refined.status_code == 503
    assert str(tmp_path) in ready.json()["detail"]
    assert refined.json()["type"] == "urn:simtrue:problem:no-model-ready"
    assert 'simtrue_refused_total{reason="no-model-ready"} 1.0' in metrics  # the refinement, not the probe


def test_readiness_follows_the_last_real_inference(
    serve: Any, tmp_path: Path, write_model: Callable[..., Path], picture: Picture
) -> None:
    write_model(tmp_path, "m", poison=255)
    with serve(tmp_path, models_poll_s=3600) as (client, _):
        assert client.get("/health/ready").status_code == 200

        failed = client.post("/refine", files={"image": _white()})
        ready = client.get("/health/ready")

        assert failed.status_code == 500
        assert failed.json()["type"] == "urn:simtrue:problem:inference-failed"
        assert ready.status_code == 503
        assert "'m' failed last" in ready.json()["detail"]
        assert client.post("/refine", files={"image": picture()}).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_metrics_count_requests_refusals_images_and_batches(
    serve: Any, model_root: Path, picture: Picture
) -> None:
    with serve(model_root, default_model="grey") as (client, _):
        client.post("/refine", files=[("image", picture())] * 3)
        client.post("/refine", files={"image": b"text"})
        client.get("/no/such/page")
        page = client.get("/metrics")

    assert page.headers["content-type"].startswith("text/plain")
    for line in (
        'simtrue_requests_total{method="POST",route="/refine",status="200"} 1.0',
        'simtrue_requests_total{method="POST",route="/refine",status="415"} 1.0',
        'simtrue_requests_total{method="GET",route="other",status="404"} 1.0',
        'simtrue_refused_total{reason="unsupported-image"} 1.0',
        'simtrue_images_total{model="grey"} 3.0',
        'simtrue_verdicts_total{verdict="unchecked"} 3.0',
        'simtrue_batch_images_sum{model="grey"} 3.0',
        'simtrue_queue_wait_seconds_count{model="grey"} 3.0',
        "simtrue_queue_images 0.0",
        "simtrue_ready 1.0",
        'simtrue_model_info{name="grey",provider="CPUExecutionProvider",version="1"} 1.0',
    ):
        assert line in page.text
    assert 'simtrue_inference_seconds_count{model="grey"}' in page.text
    assert "process_resident_memory_bytes" in page.text


def test_metrics_keep_background_work_apart(serve: Any, model_root: Path) -> None:
    held = threading.Event()
    with serve(model_root, default_model="grey") as (client, services):
        services.engine.observe(lambda _: held.wait(10))
        image = np.zeros((4, 5, 1), np.uint8)
        future = services.engine.submit(services.models.get(), image, 0, background=True)
        during = client.get("/metrics").text
        held.set()
        future.result(10)
        services.engine.drain(10)
        after = client.get("/metrics").text

    for line in (
        "simtrue_background_images 1.0",
        "simtrue_background_pixels 20.0",
        "simtrue_queue_images 0.0",
    ):
        assert line in during
    for line in ("simtrue_background_images 0.0", 'simtrue_batch_images_sum{model="grey"} 1.0'):
        assert line in after
    assert "simtrue_queue_wait_seconds_count" not in after, "it is about requests"


def test_the_documentation_needs_nothing_from_another_host(client: httpx.Client) -> None:
    page = client.get("/docs")

    assert page.status_code == 200
    assert "https://" not in page.text
    assert "http://" not in page.text
    assert '"validatorUrl": null' in page.text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) >= 3
    for asset in assets:
        assert client.get(asset).status_code == 200


def test_the_root_leads_to_the_documentation(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "docs"


def test_the_description_names_every_part_option_and_problem(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()

    operation = described["paths"]["/refine"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(form["properties"]) == ["image", "annotations", "model", "options"]
    options = described["components"]["schemas"]["RefineOptions"]["properties"]
    assert set(options) == {"strength", "seed", "shared_look", "variants", "lock", "thresholds", "output"}
    for status in ("400", "404", "406", "413", "415", "422", "500", "503", "504"):
        assert "application/problem+json" in operation["responses"][status]["content"]
    assert set(operation["responses"]["200"]["content"]) >= {
        "application/json",
        "application/zip",
        "image/png",
    }


def test_every_reference_of_the_description_leads_somewhere(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    for reference in set(re.findall(r"'\$ref': '#/([^']+)'", str(described))):
        place: Any = described
        for step in reference.split("/"):
            place = place[step]


def test_other_origins_get_no_permission(client: httpx.Client) -> None:
    answer = client.get("/models", headers={"Origin": "https://elsewhere.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("path", ["/", "/docs", "/models", "/health/live", "/metrics"])
def test_head_is_answered_like_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers.get("content-type") == get.headers.get("content-type")


def test_head_has_its_own_row_in_the_metrics(client: httpx.Client) -> None:
    client.head("/models")
    assert 'simtrue_requests_total{method="HEAD",route="/models",status="200"}' in client.get("/metrics").text
