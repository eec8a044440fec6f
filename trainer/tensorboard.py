"""Owns the TensorBoard event file of a run: scalars and sample grids, written before the call returns."""

import socket
from collections.abc import Mapping
from pathlib import Path
from time import time

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class TensorBoardLog:
    """One event file. Written here and not through a queue, so that a full disk is told where it happens."""

    def __init__(self, folder: Path, start: int) -> None:
        """Open a new event file in `folder`; TensorBoard forgets earlier files' events from `start` on."""
        now = time()
        self._file = (folder / f"events.out.tfevents.{now:.6f}.{socket.gethostname()}").open(
            "xb", buffering=0
        )
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        self._write(Event(wall_time=now, step=start, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, values: Mapping[str, float], iteration: int) -> None:
        """Write one number per tag."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(wall_time=time(), step=iteration, summary=summary))

    def image(self, tag: str, png: bytes, size: tuple[int, int], iteration: int) -> None:
        """Write a PNG of `size` (height, width) px."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self._write(Event(wall_time=time(), step=iteration, summary=summary))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()
