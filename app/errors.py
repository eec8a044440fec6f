"""Everything Simtrue can refuse or fail at, with the one table from error to HTTP answer."""
# ruff: noqa: N818 (a name says what is wrong with the request; "Error" would add nothing)

from __future__ import annotations

from typing import NamedTuple


class SimtrueError(Exception):
    """Base of the tree; `detail` is one sentence for the person who can act on it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequest(SimtrueError):
    """The request does not have the form that the service understands."""


class InvalidJson(InvalidRequest):
    """A part of the request that should be JSON cannot be parsed."""


class InvalidArchive(InvalidRequest):
    """An archive is broken, or holds what could do harm when it is unpacked."""


class PlaceRefused(InvalidRequest):
    """A source or a destination is not one of those that this service may read or write."""


class PlaceUnavailable(SimtrueError):
    """A folder, bucket or server of a set cannot be reached or does not let us in; later it may."""


class TooManyFiles(InvalidRequest):
    """A set has more files than `max_set_files`."""


class NoSuchPlace(PlaceUnavailable):
    """There is no such folder or bucket, or it is away for a while."""


class TooManyImages(InvalidRequest):
    """One request carries more images than `max_images_per_request`."""


class UnknownModel(SimtrueError):
    """No model (or no such version of it) of that name is in the model repository."""


class NotAcceptable(SimtrueError):
    """None of the media types in `Accept` can be produced for this request."""


class BodyTooLarge(SimtrueError):
    """The request body is larger than `max_upload_bytes`."""


class UnsupportedImage(SimtrueError):
    """The bytes are not an image of a format, or with a feature, that the service handles."""


class InvalidImage(SimtrueError):
    """The bytes claim to be a supported image but cannot be decoded."""


class TooManyPixels(SimtrueError):
    """An image, or a whole request, has more pixels than may ever be taken."""


class InvalidOptions(SimtrueError):
    """The options of a request are well-formed JSON but not valid for it or for the model."""


class EngineBusy(SimtrueError):
    """The queue is full right now; the same request may succeed after `retry_after_s` seconds."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TooManyJobs(EngineBusy):
    """As many jobs wait as may."""


class StorageFull(SimtrueError):
    """The disk has no room left."""


class ModelNotServed(SimtrueError):
    """A job needs a model that is not served right now."""


class ClusterUnavailable(SimtrueError):
    """No worker of the Ray cluster can be reached, or none is ready; later one may be."""


class WorkerLost(SimtrueError):
    """The process or the machine that refined a chunk is gone, perhaps because of that very chunk."""


class ShuttingDown(SimtrueError):
    """The service is stopping and takes no new work."""


class NoModelReady(SimtrueError):
    """No model is loaded, so nothing can be refined."""


class RequestTimeout(SimtrueError):
    """The request's deadline passed before its images were refined."""


class InferenceFailed(SimtrueError):
    """ONNX Runtime failed on this image; the service goes on."""


class BadModel(SimtrueError):
    """A model file is refused: unreadable, without a valid card, of a wrong signature, or failing."""


class UnknownJob(SimtrueError):
    """There is no job of that id, or no longer."""


class IdempotencyConflict(SimtrueError):
    """An idempotency key was used before, for a request that asked for something else."""


class JobStateConflict(SimtrueError):
    """What is asked of a job cannot be done in the state that it is in."""


class JobCancelled(JobStateConflict):
    """The end of a job was asked for; whoever drives it goes no further."""


class NotOwner(SimtrueError):
    """Somebody else drives this job now; whoever gets this stops touching it."""


class LedgerUnavailable(SimtrueError):
    """The database of the jobs does not answer right now; `reason` is what it said, for the log."""

    def __init__(self, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class BadLedger(SimtrueError):
    """The database of the jobs cannot be used: made by a newer version, or no database at all."""


class NoService(SimtrueError):
    """Nobody answers where a client was told that a service is, or not to the end; later somebody may."""


class ConnectionBroken(NoService):
    """An answer never came, or not to its end; what was asked may be done nevertheless."""


class ServiceRefused(SimtrueError):
    """A service refused what a client asked; the sentence and the status are its own."""

    def __init__(self, detail: str, status: int = 500) -> None:
        super().__init__(detail)
        self.status = status


class BadAnswer(SimtrueError):
    """What answers a client is no service of ours, or what was downloaded is not what was promised."""


class BadSettings(SimtrueError):
    """A setting has a value outside its bound."""


class DeviceUnavailable(SimtrueError):
    """The device that was asked for cannot be used on this machine."""


class HttpProblem(NamedTuple):
    """How one error class looks over HTTP: status, slug of its problem type, title."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        """The `type` member of the RFC 9457 problem."""
        return f"urn:simtrue:problem:{self.slug}"


HTTP_STATUS: dict[type[SimtrueError], HttpProblem] = {
    InvalidRequest: HttpProblem(400, "invalid-request", "The request is not understood"),
    InvalidJson: HttpProblem(400, "invalid-json", "The JSON cannot be parsed"),
    InvalidArchive: HttpProblem(422, "invalid-archive", "The archive is refused"),
    TooManyFiles: HttpProblem(422, "too-many-files", "Too many files in one set"),
    TooManyImages: HttpProblem(400, "too-many-images", "Too many images in one request"),
    PlaceRefused: HttpProblem(403, "place-refused", "This place may not be used"),
    UnknownModel: HttpProblem(404, "unknown-model", "There is no such model"),
    UnknownJob: HttpProblem(404, "unknown-job", "There is no such job"),
    NotAcceptable: HttpProblem(406, "not-acceptable", "None of the accepted media types can be produced"),
    ModelNotServed: HttpProblem(409, "model-not-served", "The model of the job is not served"),
    BadModel: HttpProblem(409, "bad-model", "The model file is refused"),
    JobStateConflict: HttpProblem(409, "job-state-conflict", "The job is in another state"),
    BodyTooLarge: HttpProblem(413, "body-too-large", "The request body is too large"),
    UnsupportedImage: HttpProblem(415, "unsupported-image", "This kind of image is not supported"),
    InvalidImage: HttpProblem(422, "invalid-image", "The image cannot be decoded"),
    TooManyPixels: HttpProblem(422, "too-many-pixels", "Too many pixels"),
    InvalidOptions: HttpProblem(422, "invalid-options", "The options are not valid"),
    IdempotencyConflict: HttpProblem(422, "idempotency-conflict", "The idempotency key was used before"),
    NoSuchPlace: HttpProblem(422, "no-such-place", "There is no such folder or bucket"),
    InferenceFailed: HttpProblem(500, "inference-failed", "The refiner failed on this image"),
    SimtrueError: HttpProblem(500, "internal", "Something went wrong"),
    EngineBusy: HttpProblem(503, "engine-busy", "The queue is full"),
    TooManyJobs: HttpProblem(503, "too-many-jobs", "Too many jobs wait"),
    ShuttingDown: HttpProblem(503, "shutting-down", "The service is stopping"),
    NoModelReady: HttpProblem(503, "no-model-ready", "No model is loaded"),
    PlaceUnavailable: HttpProblem(503, "place-unavailable", "The place of the data cannot be reached"),
    LedgerUnavailable: HttpProblem(503, "ledger-unavailable", "The ledger of jobs does not answer"),
    RequestTimeout: HttpProblem(504, "request-timeout", "The request took too long"),
    StorageFull: HttpProblem(507, "storage-full", "The disk is full"),
}


def http_problem(error: SimtrueError) -> HttpProblem:
    """Look up the HTTP face of `error`; a class that is not in the table answers like its nearest base."""
    return next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
