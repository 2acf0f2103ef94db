"""The out-of-fold score of an earlier final job, beside an ensemble of models that were trained on all rows."""

from contextlib import suppress
from dataclasses import dataclass

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.job import STUDY_FILE, FinalJob, finished_jobs, read_summary
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load_stored

_MAY_DIFFER = ("folds.count", "final.validation")


@dataclass(frozen=True)
class ComparableJob:
    """A final job of the same run whose settings differ in its folds alone. As text, it is what it says of the other.

    Attributes:
        name: as demo/final-1.
        accuracy: out of fold.
        luck: by how much it is too good; None: not known.
        interval: of 95 %, of the accuracy without that luck.
    """

    name: str
    folds: int
    accuracy: float
    luck: float | None
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        honest = (
            "" if self.luck is None else f", {self.accuracy - self.luck:.4f} without the luck of picked evaluations"
        )
        score = f"out-of-fold accuracy {self.accuracy:.4f}{honest} (95 % interval {low:.4f} to {high:.4f})"
        return f"{self.name}, the same settings in {self.folds} folds: {score}"


def find_comparable(job: FinalJob, identity: Identity) -> ComparableJob | None:
    """The newest finished job with a score whose settings are those of `job` but for its folds; None without one.

    Args:
        identity: of `job`.
    """
    for folder in finished_jobs(job.workspace.folder):
        with suppress(FoldraceError):  # a job that is damaged, or whose data is gone, says nothing
            summary, study = read_summary(folder), load_stored(folder / STUDY_FILE)
            accuracy, interval = summary.accuracy, summary.interval
            if accuracy is None or interval is None or _settings(Identity.of(study)) != _settings(identity):
                continue
            name = f"{job.study.name}/{folder.name}"
            return ComparableJob(name, study.final.folds, accuracy, summary.luck, interval)
    return None


def _settings(identity: Identity) -> dict[str, str]:
    return {key: value for key, value in identity.values.items() if key not in _MAY_DIFFER}
