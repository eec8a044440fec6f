"""What the service counts, as one Prometheus registry per application."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.jobs.service import Jobs
from app.refining.engine import BatchReport
from app.services import Services

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MOST_NOTED = 64
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Owns the registry; its methods are the callbacks of the HTTP layer and of the engine."""

    def __init__(self, services: Services, jobs: Jobs) -> None:
        self._registry = CollectorRegistry()
        self._noted: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._adding = Lock()
        ProcessCollector(registry=self._registry)
        self._registry.register(_ModelRows(services))
        self._registry.register(_JobRows(jobs))
        self._requests = self._counter("simtrue_requests", "Requests answered.", "route", "method", "status")
        self._refused = self._counter("simtrue_refused", "Requests refused or failed, by problem.", "reason")
        self._images = self._counter("simtrue_images", "Refined images sent.", "model")
        self._verdicts = self._counter("simtrue_verdicts", "Verdicts on refined images.", "verdict")
        self._failed = self._counter("simtrue_failed_inferences", "Inferences that failed.", "model")
        self._request_s = self._histogram("simtrue_request_seconds", "Request to answer.", "route")
        self._queue_wait_s = self._histogram(
            "simtrue_queue_wait_seconds", "Wait of a request's image before its inference.", "model"
        )
        self._inference_s = self._histogram("simtrue_inference_seconds", "One inference.", "model")
        self._batch = self._histogram(
            "simtrue_batch_images", "Images or tiles in one inference.", "model", buckets=_BATCH
        )
        engine = services.engine
        self._gauge("simtrue_queue_images", "Images waiting or running.", lambda: engine.load.images)
        self._gauge("simtrue_queue_pixels", "Pixels waiting or running.", lambda: engine.load.pixels)
        self._gauge(
            "simtrue_background_images",
            "Images of jobs waiting or running.",
            lambda: engine.background_load.images,
        )
        self._gauge(
            "simtrue_background_pixels",
            "Pixels of jobs waiting or running.",
            lambda: engine.background_load.pixels,
        )

        # Finding a child by its labels costs more than counting with it; there are few of each.
        self._request = cache(self._requests.labels)
        self._request_duration = cache(self._request_s.labels)
        self._image = cache(self._images.labels)
        self._verdict = cache(self._verdicts.labels)
        self._batch_images = cache(self._batch.labels)
        self._inference_duration = cache(self._inference_s.labels)
        self._queue_wait = cache(self._queue_wait_s.labels)

    def count_request(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Count one answered request; `route` is a pattern of ours, so that clients cannot make up labels."""
        self._note(self._add_request, route, method if method in _METHODS else "other", status, duration_s)

    def count_refusal(self, reason: str) -> None:
        """Count one problem that was sent, by the slug of its type."""
        self._refused.labels(reason).inc()

    def count_image(self, model: str, verdict: str) -> None:
        """Count one refined image that is sent, with its verdict."""
        self._note(self._add_image, model, verdict)

    def count_batch(self, report: BatchReport) -> None:
        """Count one inference; called in the thread that ran it."""
        waits_s = () if report.background else report.waits_s
        self._note(self._add_batch, report.model.name, report.images, report.inference_s, waits_s)
        if not report.ok:
            self._failed.labels(report.model.name).inc()

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        self._add_noted()
        return generate_latest(self._registry)

    def _note(self, add: Callable[..., None], *values: object) -> None:
        """Remember to add something: to add many at once takes a fraction of the time for each."""
        self._noted.append((add, values))
        if len(self._noted) >= _MOST_NOTED:
            self._add_noted()

    def _add_noted(self) -> None:
        with self._adding:
            while self._noted:
                add, values = self._noted.popleft()
                add(*values)

    def _add_request(self, route: str, method: str, status: int, duration_s: float) -> None:
        self._request(route, method, status).inc()
        self._request_duration(route).observe(duration_s)

    def _add_image(self, model: str, verdict: str) -> None:
        self._image(model).inc()
        self._verdict(verdict).inc()

    def _add_batch(self, model: str, images: int, inference_s: float, waits_s: tuple[float, ...]) -> None:
        self._batch_images(model).observe(images)
        self._inference_duration(model).observe(inference_s)
        for wait_s in waits_s:
            self._queue_wait(model).observe(wait_s)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self._registry).set_function(read)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, label: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(name, text, [label], registry=self._registry, buckets=buckets)


class _JobRows(Collector):
    """Reads at each scrape how many jobs of the ledger, which replicas may share, are in which state."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        rows = GaugeMetricFamily("simtrue_jobs", "Dataset jobs, by state.", labels=["state"])
        for state, count in self._jobs.tally().items():
            rows.add_metric([state], count)
        return [rows]


class _ModelRows(Collector):
    """Reads at each scrape which models are served, and whether they are well."""

    def __init__(self, services: Services) -> None:
        self._models = services.models

    def collect(self) -> Iterable[Metric]:
        serving = [status.model for status in self._models.statuses() if status.model is not None]
        info = GaugeMetricFamily(
            "simtrue_model_info", "Models served.", labels=["name", "version", "provider"]
        )
        for model in serving:
            info.add_metric([model.name, str(model.version), model.provider], 1)
        ready = GaugeMetricFamily("simtrue_ready", "1 when the last real inference of every model went well.")
        ready.add_metric([], float(self._models.readiness().ready))
        return [info, ready]
