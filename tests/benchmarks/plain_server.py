"""What anybody would write in an hour: FastAPI, python-multipart, Pillow and one ONNX Runtime session.

    python tests/benchmarks/plain_server.py MODEL.onnx     # prints its address; own_cost.py starts it

It checks nothing, bounds nothing, measures nothing. `own_cost.py` compares the service with it.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import sys
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, File, Form
from PIL import Image


def plain_app(model: str) -> FastAPI:
    """One route /refine, as in the tutorials; the framework runs it in its threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.post("/refine")
    async def refine(
        image: Annotated[list[bytes], File()], annotations: Annotated[str | None, Form()] = None
    ) -> dict[str, Any]:
        said = json.loads(annotations) if annotations else None
        return {"annotations": said, "images": [_refined(session, data) for data in image]}

    return app


def _refined(session: ort.InferenceSession, data: bytes) -> str:
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    (refined,) = session.run(["refined"], {"image": pixels[None, :, :, None]})
    file = io.BytesIO()
    Image.fromarray(refined[0, :, :, 0]).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Serve on a free port of 127.0.0.1, with uvicorn's fastest parts and without a log."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(plain_app(sys.argv[1]), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
