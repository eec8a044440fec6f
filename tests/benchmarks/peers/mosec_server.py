"""mosec with the same contract: multipart PNG and JSON in, refined PNG and the same JSON out.

PEER_MODEL=MODEL.onnx PEER_THREADS=1 PEER_WORKERS=2 python mosec_server.py --port P      # bench.py starts it
"""

import io
import json
import os

from mosec import Server, Worker
from plain import Refiner, answer
from python_multipart import parse_form


class Refine(Worker):
    """One stage: decodes, refines a batch and encodes."""

    def __init__(self) -> None:
        self.refiner = Refiner(os.environ["PEER_MODEL"], int(os.environ["PEER_THREADS"]))

    def deserialize(self, data: bytes) -> tuple:
        return fields(data)

    def forward(self, data: list) -> list:
        refined = self.refiner.refine([self.refiner.decode(image) for image, _ in data])
        return [answer(image, said) for image, (_, said) in zip(refined, data, strict=True)]

    def serialize(self, data: dict) -> bytes:
        return json.dumps(data).encode()


def fields(body: bytes) -> tuple:
    """The two fields of a form; mosec hides the header that names the boundary: it begins the body."""
    boundary = body[2 : body.index(b"\r\n")]
    found: dict = {}

    def on_field(field: object) -> None:
        found[field.field_name] = field.value

    def on_file(file: object) -> None:
        file.file_object.seek(0)
        found[file.field_name] = file.file_object.read()

    headers = {"Content-Type": b"multipart/form-data; boundary=" + boundary}
    parse_form(headers, io.BytesIO(body), on_field, on_file)
    return found[b"image"], found.get(b"annotations")


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Refine, num=int(os.environ["PEER_WORKERS"]), max_batch_size=64, max_wait_time=1, route="/refine"
    )
    server.run()
