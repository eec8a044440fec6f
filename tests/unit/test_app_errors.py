"""The error tree: every error has its HTTP face and one sentence."""

import pytest

from app import errors
from app.errors import HTTP_STATUS, EngineBusy, InvalidJson, InvalidRequest, SimtrueError, http_problem

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SimtrueError)]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InvalidRequest", 400),
        ("InvalidJson", 400),
        ("TooManyImages", 400),
        ("PlaceRefused", 403),
        ("UnknownModel", 404),
        ("UnknownJob", 404),
        ("NotAcceptable", 406),
        ("BadModel", 409),
        ("JobStateConflict", 409),
        ("BodyTooLarge", 413),
        ("UnsupportedImage", 415),
        ("InvalidImage", 422),
        ("TooManyPixels", 422),
        ("InvalidOptions", 422),
        ("NoSuchPlace", 422),
        ("IdempotencyConflict", 422),
        ("InferenceFailed", 500),
        ("EngineBusy", 503),
        ("ShuttingDown", 503),
        ("NoModelReady", 503),
        ("PlaceUnavailable", 503),
        ("LedgerUnavailable", 503),
        ("RequestTimeout", 504),
    ],
)
def test_each_error_has_its_status(name, status):
    assert http_problem(getattr(errors, name)("a sentence")).status == status


def test_each_row_of_the_table_has_its_own_problem_type():
    types = [problem.type for problem in HTTP_STATUS.values()]
    assert len(set(types)) == len(types)
    assert http_problem(InvalidJson("x")).type == "urn:simtrue:problem:invalid-json"


def test_an_error_without_a_row_answers_like_its_nearest_base():
    class InvalidForm(InvalidRequest):
        pass

    assert http_problem(InvalidForm("x")) == HTTP_STATUS[InvalidRequest]


@pytest.mark.parametrize("kind", ALL)
def test_the_detail_is_the_sentence_it_was_raised_with(kind):
    assert kind("Say what to do.").detail == str(kind("Say what to do.")) == "Say what to do."


def test_a_full_engine_says_when_to_come_back():
    assert EngineBusy("full", 7).retry_after_s == 7
