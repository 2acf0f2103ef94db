"""MLflow, on files or on a server: one experiment, a run for each study in it, and below that a run for each record.

Only the client with explicit ids is used: MLflow's global state may belong to other code of this process.
"""

import logging
import os
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from foldrace.storage.trackers.protocol import Record, TrackedStudy
from foldrace.storage.workspace import Workspace

EXPERIMENT = "foldrace"
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
# A server that does not answer would else keep a worker for many minutes.
_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

logger = logging.getLogger("foldrace.tracking")


class MlflowTracker:
    """Records to MLFLOW_TRACKING_URI; without it, to files in the folder `mlflow` of the study's run."""

    def __init__(self, study: TrackedStudy) -> None:
        self._study = study
        folder = (study.folder / "mlflow").absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        for name, value in _TIMEOUTS.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow refuses to record to files
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry would be a line
        self._client = MlflowClient(tracking_uri=uri or folder.as_uri())
        self._experiment, self._parent = self._find_or_create_runs()
        logger.info("mlflow: experiment %s, in %s", EXPERIMENT, "MLFLOW_TRACKING_URI" if uri else folder)

    def log(self, record: Record) -> None:
        tags = {"mlflow.runName": record.name, "mlflow.parentRunId": self._parent, "state": record.state}
        run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in record.parameters.items()]
        texts = [RunTag(name, text) for name, text in record.texts.items()]
        self._client.log_batch(run_id, metrics=_metrics(record), params=params, tags=texts)
        self._upload(run_id, record)
        if record.number is not None and record.value is not None:
            self._client.log_metric(self._parent, "value of each trial", record.value, step=record.number)
        self._client.set_terminated(run_id, _STATUS[record.state])

    def close(self) -> None:
        self._client.set_terminated(self._parent)

    def _find_or_create_runs(self) -> tuple[str, str]:
        """The ids of the experiment and of the study's own run; workers begin together, so one at a time makes them."""
        with Workspace(self._study.folder.parent, self._study.folder.name).lock("mlflow"):
            experiment = self._find_or_create_experiment()
            of_study = f"tags.`foldrace.study` = '{self._study.fingerprint}'"
            found = self._client.search_runs([experiment], of_study, max_results=1)
            if found:
                return experiment, found[0].info.run_id
            tags = {"mlflow.runName": self._study.name, "foldrace.study": self._study.fingerprint}
            return experiment, self._client.create_run(experiment, tags=tags).info.run_id

    def _find_or_create_experiment(self) -> str:
        found: Experiment | None = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return str(self._client.create_experiment(EXPERIMENT))
            except MlflowException:  # a worker on another machine has made it meanwhile
                found = self._client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _upload(self, run_id: str, record: Record) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, png in record.pictures.items():
                path = Path(folder) / f"{name}.png"
                path.write_bytes(png)
                self._client.log_artifact(run_id, str(path), "figures")


def _metrics(record: Record) -> list[Metric]:
    now = int(time.time() * 1000)
    single = dict(record.values) | ({} if record.value is None else {"value": record.value})
    metrics = [Metric(name, value, now, 0) for name, value in single.items()]
    return metrics + [Metric(n, value, now, step) for n, points in record.series.items() for step, value in points]
