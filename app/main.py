"""The web application: routes, the error handler, the access log and the metrics around the open services."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app.jobs.service import Jobs
from app.metrics import Metrics
from app.routes.access import AccessLog
from app.routes.direct import Direct
from app.routes.head import HeadAsGet
from app.routes.health import health_router
from app.routes.job_results import job_results_router
from app.routes.job_submission import job_submission_router
from app.routes.jobs import jobs_router
from app.routes.models import models_router
from app.routes.openapi import describe
from app.routes.pages import pages_router
from app.routes.problems import install_problem_handler
from app.routes.refine import Rooms, refine_router
from app.routes.whole import WholeRequests
from app.services import Services

_ABOUT = """Makes simulated images look real and proves that their labels survived.

Send images to `POST /refine`, whole data sets to `POST /jobs`; annotations come back byte for byte. Every
error is an RFC 9457 problem (`application/problem+json`) whose `detail` is one sentence."""

API_VERSION = "1"
_DOCS = {"validatorUrl": None, "defaultModelsExpandDepth": 0}  # no validator: it lives on another host


def create_app(services: Services, jobs: Jobs) -> FastAPI:
    """Hang everything on a new application. It owns nothing: whoever opened services and jobs closes them."""
    metrics = Metrics(services, jobs)
    services.engine.observe(metrics.count_batch)
    app: FastAPI = FastAPIOffline(
        title="Simtrue", description=_ABOUT, version=API_VERSION, redoc_url=None, swagger_ui_parameters=_DOCS
    )
    rooms = Rooms(services.settings)
    refining = refine_router(services, metrics, rooms)
    app.include_router(refining)
    app.include_router(job_submission_router(services, jobs))
    app.include_router(jobs_router(jobs))
    app.include_router(job_results_router(jobs))
    app.include_router(models_router(services))
    app.include_router(health_router(services, metrics))
    app.include_router(pages_router())
    describe(app)
    answer = install_problem_handler(app, metrics.count_refusal)
    app.add_middleware(HeadAsGet)
    app.add_middleware(AccessLog, on_request=metrics.count_request)
    (refine,) = (route for route in refining.routes if isinstance(route, APIRoute))
    app.state.whole_requests = WholeRequests(services, rooms, refine, metrics, answer)
    layers = app.build_middleware_stack

    def direct() -> ASGIApp:
        return Direct(layers(), refine, answer, metrics.count_request)

    app.build_middleware_stack = direct  # type: ignore[method-assign]  # before all of the framework's layers
    return app
