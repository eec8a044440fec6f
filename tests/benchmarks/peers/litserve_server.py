"""LitServe with the same contract: multipart PNG and JSON in, refined PNG and the same JSON out.

python litserve_server.py MODEL.onnx --threads N --port P          # bench.py starts it
"""

import argparse

import litserve
from fastapi import Request
from plain import Refiner, answer


class RefineAPI(litserve.LitAPI):
    """Decodes and encodes in the worker, batches in between, as its documentation shows."""

    def __init__(self, model: str, threads: int, **options: object) -> None:
        super().__init__(**options)
        self._model, self._threads = model, threads

    def setup(self, device: str) -> None:
        self.refiner = Refiner(self._model, self._threads)

    def decode_request(self, request: Request) -> tuple:
        data = request["image"].file.read()
        return self.refiner.decode(data), request.get("annotations")

    def predict(self, batch: list) -> list:
        refined = self.refiner.refine([pixels for pixels, _ in batch])
        return [(image, said) for image, (_, said) in zip(refined, batch, strict=True)]

    def batch(self, inputs: list) -> list:
        return inputs

    def unbatch(self, output: list) -> list:
        return output

    def encode_response(self, output: tuple) -> dict:
        return answer(*output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    api = RefineAPI(chosen.model, chosen.threads, max_batch_size=64, batch_timeout=0.002, api_path="/refine")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=chosen.port, log_level="warning", generate_client_file=False)
