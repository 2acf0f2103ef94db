"""What is recorded: the data sets, and the ranges that each configuration's knobs are drawn from.

Reading a recording needs these ranges too. This module imports no torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parent.parent / "studies/demo/train.tsv"
SEARCHED: dict[str, dict[str, Any]] = {  # chosen so that few configurations stay at the majority class
    "lr": {"low": 4e-4, "high": 2e-3, "log": True},
    "first_cycle_ratio": {"low": 0.06, "high": 1.0, "log": True},
    "gamma": {"low": 0.4, "high": 1.0},
    "min_lr": {"low": 1e-7, "high": 1e-4, "log": True},
    "warmup_ratio": {"low": 0.0, "high": 0.3},
    "label_smoothing": {"low": 0.0, "high": 0.3},
    "dropout": {"low": 0.0, "high": 0.3},
}


@dataclass(frozen=True)
class Source:
    """A data set to record on.

    Attributes:
        longest: characters of the longest sentence that is kept; short sentences make many configurations affordable.
        training: the knobs beside `SEARCHED`, and those with another range here.
    """

    exclude_labels: tuple[str, ...]
    longest: int
    training: dict[str, Any]
    folds: int = 5
    data: Path | None = None


SOURCES = {
    "klue_re": Source(
        ("no_relation",), 80, {"batch_size": 8, "entity_marking": "typed_markers", "epochs": {"low": 3, "high": 6}}
    ),
    "demo": Source(
        (), 60, {"batch_size": 8, "entity_marking": "typed_markers", "epochs": {"low": 3, "high": 8}}, data=DEMO
    ),
    "pretrained": Source(
        ("no_relation",),
        80,
        {
            "batch_size": 8,
            "entity_marking": "typed_markers",
            "epochs": {"low": 6, "high": 10},  # with fewer, and above this rate, folds stay at the majority class
            "lr": {"low": 6e-5, "high": 2.4e-4, "log": True},
            "min_lr": {"low": 1e-8, "high": 1e-5, "log": True},
            "label_smoothing": {"low": 0.0, "high": 0.1},
            "dropout": {"low": 0.0, "high": 0.2},
        },
        folds=3,
    ),
}


def is_log_scale() -> dict[str, bool]:
    """Of each knob that is searched on any source, whether it is drawn on a log scale."""
    ranges = [item for source in SOURCES.values() for item in (SEARCHED | source.training).items()]
    return {knob: bool(setting.get("log")) for knob, setting in ranges if isinstance(setting, dict)}
