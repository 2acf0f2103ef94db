"""The out-of-fold score of an earlier final job, beside an ensemble of models that were trained on all rows."""

from contextlib import suppress
from dataclasses import dataclass

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.job import STUDY_FILE, FinalJob, finished_jobs, read_summary
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load_stored
from foldrace.studies.study import Metric
from foldrace.trainer.ensemble import interval_words
from foldrace.trainer.metrics import Scores

_MAY_DIFFER = ("folds.count", "final.validation")


@dataclass(frozen=True)
class ComparableJob:
    """A final job of the same run whose settings differ in its folds alone. As text, it is what it says of the other.

    Attributes:
        name: as demo/final-1.
        metric: of the study.
        scores: out of fold.
        luck: by how much the accuracy is too good; None: not known.
        interval: of 95 %, of the accuracy without that luck.
    """

    name: str
    folds: int
    metric: Metric
    scores: Scores
    luck: float | None
    interval: tuple[float, float]

    def __str__(self) -> str:
        luck = "the luck of picked evaluations"
        honest = "" if self.luck is None else f", {self.scores.accuracy - self.luck:.4f} without {luck}"
        interval = interval_words(self.interval, self.metric)
        score = f"out-of-fold {self.scores.words(self.metric)}{honest} ({interval})"
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
            scores = Scores(accuracy, summary.macro_f1, summary.micro_f1, summary.auprc)
            return ComparableJob(name, study.final.folds, study.search.metric, scores, summary.luck, interval)
    return None


def _settings(identity: Identity) -> dict[str, str]:
    return {key: value for key, value in identity.values.items() if key not in _MAY_DIFFER}
