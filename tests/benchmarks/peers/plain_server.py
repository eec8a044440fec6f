"""What anybody would write in an hour: FastAPI, python-multipart, Pillow and one ONNX Runtime session.

    python plain_server.py MODEL.onnx --threads N --port P          # bench.py starts it

It checks nothing, bounds nothing, measures nothing.
"""

from __future__ import annotations

import argparse
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, File, Form
from plain import Refiner, answer


def plain_app(refiner: Refiner) -> FastAPI:
    """One route /refine, as in the tutorials."""
    app = FastAPI()

    @app.post("/refine")
    async def refine(
        image: Annotated[list[bytes], File()], annotations: Annotated[str | None, Form()] = None
    ) -> dict[str, Any]:
        answers = [answer(refiner.refine([refiner.decode(data)])[0], annotations) for data in image]
        return {**answers[0], "images": [one for found in answers for one in found["images"]]}

    return app


def main() -> None:
    """Serve on 127.0.0.1, with uvicorn's fastest parts and without a log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    app = plain_app(Refiner(chosen.model, chosen.threads))
    uvicorn.run(app, host="127.0.0.1", port=chosen.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
