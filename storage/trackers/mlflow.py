"""MLflow, in a file or on a server: one experiment, a run for each study in it, and below that a run for each record.

Only the client with explicit ids is used: MLflow's global state may belong to other code of this process.
"""

import logging
import os
import tempfile
import time
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from foldrace.storage.files.locking import locked
from foldrace.storage.trackers.protocol import Record, TrackedStudy

EXPERIMENT = "foldrace"
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
# A server that does not answer would else keep a worker for many minutes.
_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

logger = logging.getLogger("foldrace.tracking")


class MlflowTracker:
    """Records to MLFLOW_TRACKING_URI; without it, to `mlflow.db` in the workspace, with pictures in `mlflow` beside it.

    The workers of a workspace write to that file one at a time, and one of them makes it.
    """

    def __init__(self, study: TrackedStudy) -> None:
        self._study = study
        self._workspace = study.folder.parent.absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        file = self._workspace / "mlflow.db"
        for name, value in _TIMEOUTS.items():
            os.environ.setdefault(name, value)
        for noisy in ("urllib3.connectionpool", "alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.ERROR)  # each retry and each migration would be a line
        self._uri = uri or f"sqlite:///{file}"
        with self._alone(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, about how MLflow uses it
            self._client = MlflowClient(tracking_uri=self._uri)
            self._experiment, self._parent = self._find_or_create_runs()
        logger.info("mlflow: experiment %s, in %s", EXPERIMENT, "MLFLOW_TRACKING_URI" if uri else file)

    def log(self, record: Record) -> None:
        with self._alone():
            self._log(record)

    def close(self) -> None:
        with self._alone():
            self._client.set_terminated(self._parent)

    def _alone(self) -> AbstractContextManager[None]:
        """Keep other workers of the workspace from what they share: the file, and the making of the study's own run."""
        return locked(self._workspace / ".mlflow.lock")

    def _log(self, record: Record) -> None:
        tags = {"mlflow.runName": record.name, "mlflow.parentRunId": self._parent, "state": record.state}
        run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in record.parameters.items()]
        texts = [RunTag(name, text) for name, text in record.texts.items()]
        self._client.log_batch(run_id, metrics=_metrics(record), params=params, tags=texts)
        self._upload(run_id, record)
        if record.number is not None and record.value is not None:
            self._client.log_metric(self._parent, "value of each trial", record.value, step=record.number)
        self._client.set_terminated(run_id, _STATUS[record.state])

    def _find_or_create_runs(self) -> tuple[str, str]:
        """The ids of the experiment and of the study's own run."""
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
                pictures = (self._workspace / "mlflow").as_uri() if self._uri.startswith("sqlite:") else None
                return str(self._client.create_experiment(EXPERIMENT, artifact_location=pictures))
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
