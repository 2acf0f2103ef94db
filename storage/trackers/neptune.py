"""Neptune's offline record. The hosted service closed on 2026-03-05: nothing is sent, and nothing here tries to."""

import logging
import os
import warnings

from foldrace.storage.trackers.protocol import NOTICES, Record, TrackedStudy

# Its import warns that it is not maintained any more, and sets filters of its own, so none of ours would hold.
with warnings.catch_warnings(record=True):
    warnings.simplefilter("ignore")
    import neptune
    from neptune.types import File

logger = logging.getLogger("foldrace.tracking")


class NeptuneTracker:
    """Writes one offline run for each record, to the folder `neptune/offline` of the study's run."""

    def __init__(self, study: TrackedStudy) -> None:
        self._study = study
        folder = study.folder / "neptune"
        os.environ["NEPTUNE_DATA_DIRECTORY"] = str(folder)  # Neptune reads it whenever a run starts
        logging.getLogger("neptune").setLevel(logging.ERROR)  # its messages advertise the hosted service
        logger.info("neptune: %s, in %s", NOTICES["neptune"], folder)

    def log(self, record: Record) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = neptune.init_run(
                mode="offline",
                name=f"{self._study.name}/{record.name}",
                tags=[self._study.name, record.state],
                source_files=[],
                capture_stdout=False,
                capture_stderr=False,
                capture_hardware_metrics=False,
                capture_traceback=False,
                git_ref=False,
            )
            try:
                _fill(run, record)
            finally:
                run.stop()

    def close(self) -> None:
        """Nothing is open: each run ends with its record."""


def _fill(run: "neptune.Run", record: Record) -> None:
    run["parameters"] = dict(record.parameters)
    run["state"] = record.state
    if record.value is not None:
        run["value"] = record.value
    for name, points in record.series.items():
        run[name].extend([value for _, value in points], steps=[float(step) for step, _ in points])
    for name, given in {**record.values, **record.texts}.items():
        run[name] = given
    for name, png in record.pictures.items():
        run[f"figures/{name}"].upload(File.from_content(png, extension="png"))
