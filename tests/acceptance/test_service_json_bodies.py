"""JSON as a whole body: what is wrong with it is one sentence, and it is not read for ever."""

from __future__ import annotations

import socket

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    document = answer.json()
    return answer.status_code, document["type"].removeprefix("urn:simtrue:problem:"), document["detail"]


@pytest.mark.parametrize("path", ["/models/grey/load", "/jobs"])
@pytest.mark.parametrize(
    "body", [b"{bad", b'{"version": \xff}', b"[" * 3000, b'{"version": 1', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_is_told_with_the_place(client: httpx.Client, path: str, body: bytes) -> None:
    status, kind, detail = refusal(client.post(path, content=body, headers=JSON))

    assert (status, kind) == (400, "invalid-json")
    assert detail.startswith("The body is not valid JSON: ")
    assert "at line 1 column " in detail


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/models/grey/load", b"[]", "The body: Input should be an object."),
        ("/jobs", b"[]", "The body: Input should be an object."),
        (
            "/models/grey/load",
            b'{"version": 0}',
            "In the body, version: Input should be greater than or equal to 1.",
        ),
        ("/models/grey/load", b'{"v": 1}', "In the body, v: Extra inputs are not permitted."),
        ("/jobs", b'{"source": 1}', "In the body, source: Input should be a valid string."),
    ],
)
def test_json_of_another_form_is_told_with_what_is_wrong(
    client: httpx.Client, path: str, body: bytes, told: str
) -> None:
    answer = client.post(path, content=body, headers=JSON)

    assert refusal(answer) == (400, "invalid-request", told)


def test_a_form_for_a_version_is_told_the_content_type_to_send(client: httpx.Client) -> None:
    answer = client.post("/models/grey/load", data={"version": "1"})

    told = (
        "The Content-Type is 'application/x-www-form-urlencoded', but a version is asked for as JSON, "
        "with the Content-Type application/json."
    )
    assert refusal(answer) == (400, "invalid-request", told)


@pytest.mark.parametrize("body", [b"", b" \n", b"null", b"{}", b'{"version": null}', b'{"version": 1}'])
def test_a_model_is_loaded_with_a_version_or_without(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/models/grey/load", content=body, headers=JSON)

    assert answer.status_code == 200, answer.text


def test_a_body_that_cannot_be_meant_is_not_waited_for(client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as connection:
        head = b"POST /models/grey/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        connection.sendall(head + b" " * 5000)

        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_hangs_up_while_it_sends_is_no_failure(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    address = ("127.0.0.1", client.base_url.port or 0)
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST /models/grey/load HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")

    assert client.get("/models").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_query_that_is_not_understood_is_told_by_its_name(client: httpx.Client) -> None:
    told = "In the query, limit: Input should be greater than or equal to 1."
    assert refusal(client.get("/jobs", params={"limit": 0})) == (400, "invalid-request", told)


def test_the_description_tells_what_may_be_asked_of_loading(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/models/{name}/load"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]

    assert "required" not in operation["requestBody"]
    assert list(schema["properties"]) == ["version"]
    assert "request" not in str(operation.get("parameters"))
