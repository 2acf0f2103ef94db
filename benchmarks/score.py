"""Score a submission against the true labels of the test rows, beside the answer "always the most frequent class".

    python -m benchmarks.score runs/klue_re_tiny/final-1 test_labels.csv --exclude no_relation

The labels are a CSV file `id,label` in the order of the test file. Rows with an excluded label were never to be
answered, and do not count.
"""

import argparse
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from foldrace.search.ensemble.job import LABELS_FILE, SUMMARY_FILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("final", type=Path, help="the folder of a final job")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--exclude", nargs="*", default=[], metavar="LABEL")
    arguments = parser.parse_args()
    answers = submitted(arguments.final)
    truth = pd.read_csv(arguments.labels, dtype=str)["label"].tolist()
    rows, accuracy, majority = score(answers, truth, arguments.exclude)
    print(f"{rows} rows: accuracy {accuracy:.4f}, majority class {majority:.4f}, {accuracy - majority:+.4f}")


def submitted(final: Path) -> list[str]:
    """The labels of a final job's submission, in test order."""
    summary = json.loads((final / SUMMARY_FILE).read_text(encoding="utf-8"))
    table = pd.read_csv(final.parent / summary["submission"], dtype=str)
    if "pred_label" in table:
        return table["pred_label"].tolist()
    codes = json.loads((final / LABELS_FILE).read_text(encoding="utf-8"))
    names = {str(code): name for name, code in codes.items()}
    return [names[code] for code in table["pred"]]


def score(answers: list[str], truth: list[str], excluded: Collection[str]) -> tuple[int, float, float]:
    """How many rows count, the share of right answers, and the share of the most frequent true label."""
    pairs = [(answer, true) for answer, true in zip(answers, truth, strict=True) if true not in excluded]
    right = sum(answer == true for answer, true in pairs)
    [(_, most)] = Counter(true for _, true in pairs).most_common(1)
    return len(pairs), right / len(pairs), most / len(pairs)


if __name__ == "__main__":
    main()
