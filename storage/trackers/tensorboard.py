"""TensorBoard's event files, one folder for each record. Written without torch and without TensorFlow."""

import time
from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from foldrace.storage.trackers.protocol import Record, TrackedStudy


class TensorboardTracker:
    """Writes to the folder `tensorboard` of the study's run: `tensorboard --logdir` shows the records side by side."""

    def __init__(self, study: TrackedStudy) -> None:
        self._folder = study.folder / "tensorboard"

    def log(self, record: Record) -> None:
        writer = EventFileWriter(str(self._folder / record.name))
        try:
            for step, summary in _summaries(record):
                writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        finally:
            writer.close()

    def close(self) -> None:
        """Nothing is open: each file is closed with its record."""


def _summaries(record: Record) -> list[tuple[int, Summary]]:
    single = dict(record.values) | ({} if record.value is None else {"value": record.value})
    found = [(0, _scalar(name, value)) for name, value in single.items()]
    found += [(step, _scalar(name, value)) for name, points in record.series.items() for step, value in points]
    texts = {"parameters": _table(record.parameters), "state": record.state, **record.texts}
    found += [(0, _text(name, text)) for name, text in texts.items()]
    return found + [(0, _image(f"figures/{name}", png)) for name, png in record.pictures.items()]


def _scalar(name: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _text(name: str, text: str) -> Summary:
    metadata = create_summary_metadata(display_name=name, description="")
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    return Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)])


def _image(name: str, png: bytes) -> Summary:
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # in the PNG's header
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _table(parameters: Mapping[str, object]) -> str:
    lines = [f"| {name} | {value} |" for name, value in parameters.items()]
    return "\n".join(["| knob | value |", "|---|---|", *lines])
