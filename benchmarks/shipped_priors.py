"""Make the priors that are shipped, `search.prior = ["shipped"]`, from the recorded curves of this repository.

    python -m benchmarks.shipped_priors        # make shipped-priors

A prior has a configuration's level: the mean over its seeds and folds. Its noise is pooled over all runs of a file.
"""

import math
from pathlib import Path

import numpy as np

from benchmarks.curve_sources import SEARCHED, SOURCES
from benchmarks.recordings import Run, read
from benchmarks.simulation.worlds import open_recording
from foldrace.search.prior_store import FORMAT, EarlierStudy, EarlierTrial
from foldrace.search.priors import sources
from foldrace.storage.files.atomic import atomic_write

CURVES = Path(__file__).parent / "curves"
SHIPPED = ("demo", "klue_re")  # recorded with the trainer as it is
DIGITS = 4  # significant ones, of a knob


def main() -> None:
    for name in SHIPPED:
        path = Path(sources.__file__).parent / "shipped" / f"{name}.json"
        atomic_write(path, shipped_prior(name).to_json().replace('{"number"', '\n{"number"') + "\n")
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def shipped_prior(name: str) -> EarlierStudy:
    """The recordings of a data set as one earlier study."""
    path = CURVES / f"{name}.jsonl"
    runs: dict[int, list[Run]] = {}
    for run in (*read(path), *read(CURVES / "one_seed" / f"{name}.jsonl")):
        runs.setdefault(run.config, []).append(run)
    deviation = math.sqrt(open_recording(path).levels.variance)
    trials = [_trial(config, of_config, deviation) for config, of_config in sorted(runs.items())]
    return EarlierStudy.model_validate(
        {"format": FORMAT, "metric": "accuracy", "knobs": SEARCHED | SOURCES[name].training, "trials": trials}
    )


def _trial(config: int, runs: list[Run], deviation: float) -> EarlierTrial:
    params = {knob: _rounded(value) for knob, value in runs[0].params.items()}
    level = round(float(np.mean([run.value for run in runs])), DIGITS)
    return EarlierTrial(
        number=config, params=params, level=level, noise=round(deviation / math.sqrt(len(runs)), DIGITS)
    )


def _rounded(value: float | str) -> float | str:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
