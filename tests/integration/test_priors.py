"""A study that begins from an earlier one: what is copied into its database, what its sampler makes of it."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.export import exported_text, select_trial, taken_over_trials
from foldrace.search.launch.search import continue_search, prior_lines
from foldrace.search.monitor.lines import status_lines
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.prior_store import CREDIBLE_PRIORS, read_priors
from foldrace.search.priors.copying import copy_new_priors, read_new_priors
from foldrace.search.priors.sources import write_prior
from foldrace.search.reports.search_report import search_report
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import OutageError
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.studies.sections import Folds
from foldrace.studies.settings import Choices, Range
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.earlier_studies import by_gamma, search

MakeStudy = Callable[..., Study]
TRIALS = 6
RANGE = {"low": 0.5, "high": 1.0}
ITSELF, ON_A_RANGE = (RANGE | {"when": {knob: 0.5}} for knob in ("gamma", "lr"))
on_sqlite = pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)  # where the database does not matter


@pytest.fixture
def make_study(make_study: MakeStudy) -> MakeStudy:
    """Studies of two folds: quicker to search."""
    return lambda *name, **search: make_study(*name, **search).model_copy(update={"folds": Folds(count=2)})


@pytest.fixture
def open_in(database: Database, tmp_path: Path) -> Callable[[Study], Session]:
    """A session of a study in the database of the test."""
    return lambda study: Session(study, Workspace(tmp_path / "runs", study.name), database)


@pytest.fixture
def old(open_in: Callable[[Study], Session], make_study: MakeStudy) -> Session:
    """A study of six trials that ended, in the database of the test."""
    session = open_in(make_study("old", trials=TRIALS))
    search(session, TRIALS)
    return session


def with_knobs(study: Study, **training: Any) -> Study:
    return study.model_copy(update={"training": study.training | training})


def of_other_data(study: Study, tmp_path: Path) -> Study:
    (tmp_path / "other.tsv").write_text("another row\n", encoding="utf-8")
    return study.model_copy(update={"data": study.data.model_copy(update={"train": tmp_path / "other.tsv"})})


def told(session: Session) -> list[str]:
    return [line for line in status_lines(read_status(session.database, session.study.name)) if "prior" in line]


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of Optuna's tables."""
    found = {}
    for table in tables.optunas.tables.values():
        found[table.name] = database.read(lambda c, t=table: sorted(map(repr, c.execute(sa.select(t)))))  # type: ignore[misc]
    return found


# Taken over


def test_trials_of_the_same_study_are_taken_over_once(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    new = open_in(make_study("new", prior=["old"]))
    assert prior_lines(new) == ["prior     old: 6 trials taken over"]
    open_study(new.database, new.study)

    with ThreadPoolExecutor(2) as two:
        list(two.map(copy_new_priors, [new, new]))
    copied = contents(new.database)
    continue_search(new)

    assert told(new) == ["prior     old: 6 trials taken over"]
    assert "old: 6 trials taken over" in search_report(new)
    assert read_status(new.database, "new").total == 3  # its own: those taken over are outside of its budget
    assert (contents(new.database), prior_lines(new)) == (copied, [])


@on_sqlite
def test_what_is_taken_over_is_what_the_trials_had_shown(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    new = open_in(make_study("new", prior=["old"]))

    (prior,) = read_new_priors(new)

    stored = old.database.storage.get_all_trials(1)
    assert [trial.params for trial in prior.study.trials] == [trial.params for trial in stored]
    assert [trial.folds[1][7] for trial in prior.study.trials] == [
        pytest.approx(trial.user_attrs["fold1/eval7"]["best"], abs=1e-6) for trial in stored
    ]


def test_a_wider_study_keeps_the_evidence_and_leaves_the_old_one_as_it_was(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    before = contents(old.database)
    wider = with_knobs(
        make_study("new", trials=4, prior=["old"]),
        gamma=Range(low=0.1, high=1.0),
        dropout=Choices(choices=(0.0, 0.1, 0.3)),  # the old one had it fixed at its default
    )
    new = open_in(wider)

    search_after_copy(new, 4)

    of_prior = new.database.read(lambda c: read_priors(c, 2))[0].study.trials
    assert told(new) == ["prior     old: 6 trials taken over"]
    assert {trial.params["dropout"] for trial in of_prior} == {0.1}
    first = new.database.storage.get_all_trials(2)[0].params
    assert abs(first["gamma"] - 0.9) < 0.3  # the process is asked at once: no trial in the middle of the space
    after = contents(old.database)
    assert all(set(rows) <= set(after[table]) for table, rows in before.items())


def search_after_copy(session: Session, trials: int) -> None:
    open_study(session.database, session.study)
    copy_new_priors(session)
    search(session, trials)


@on_sqlite
def test_trials_outside_of_a_narrower_study_are_left_out(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    gammas = sorted(trial.params["gamma"] for trial in old.database.storage.get_all_trials(1))
    narrow = with_knobs(make_study("new", prior=["old"]), gamma=Range(low=gammas[2], high=1.0))
    nowhere = with_knobs(make_study("new", prior=["old"]), gamma=Range(low=0.0, high=gammas[0] / 2))

    assert prior_lines(open_in(narrow)) == ["prior     old: 4 trials taken over; 2 outside of the ranges"]
    assert "old: a prior mean (6 trials; all outside of the ranges)" in prior_lines(open_in(nowhere))[0]


def test_a_run_with_a_database_of_its_own_is_found_in_the_workspace_and_never_asked_again(
    database: Database, storage_url: str, make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDRACE_STORAGE", storage_url)  # as a supervisor sets it for its workers
    with open_session(make_study("old", trials=TRIALS), tmp_path / "runs") as old:
        search(old, TRIALS)
    new = Session(make_study("new", prior=["old"]), Workspace(tmp_path / "runs", "new"), database)
    open_study(database, new.study)
    copy_new_priors(new)

    (tmp_path / "runs/old/study.db").unlink()

    assert continue_search(new) == 3
    assert told(new) == ["prior     old: 6 trials taken over"]


@on_sqlite
def test_a_prior_that_was_written_to_a_file_is_the_same(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path
) -> None:
    assert write_prior(old, tmp_path / "old.json") == f"{tmp_path / 'old.json'}: 6 trials"

    (from_file,) = read_new_priors(open_in(make_study("new", prior=[str(tmp_path / "old.json")])))
    (from_run,) = read_new_priors(open_in(make_study("new", prior=["old"])))

    assert (from_file.study, from_file.name) == (from_run.study, "old.json")


@on_sqlite
def test_a_trial_that_was_taken_over_can_be_exported(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path
) -> None:
    best = select_trial(old.database, old.study)
    new = open_in(with_knobs(make_study("new", prior=["old"]), dropout=Choices(choices=(0.0, 0.1))))
    open_study(new.database, new.study)
    copy_new_priors(new)
    of_old = f"old/{best.number}"

    assert next(trial.name for trial in taken_over_trials(new.database, new.study)) == of_old
    path = tmp_path / "final.toml"
    path.write_text(exported_text(new.study, select_trial(new.database, new.study, of_old), path), encoding="utf-8")

    assert load(path).fixed.items() >= {**best.sampled, "dropout": 0.1}.items()
    with pytest.raises(FoldraceError, match=f"no complete trial old/99 was taken over; there: {of_old}, old/"):
        select_trial(new.database, new.study, "old/99")
    with pytest.raises(FoldraceError, match=f"no trial is complete yet, of 3; --trial {of_old} exports one that"):
        select_trial(new.database, new.study)
    assert taken_over_trials(old.database, old.study) == []


# A prior mean


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_study_of_other_data_is_trusted_or_dropped(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path, is_reversed: bool
) -> None:
    new = open_in(of_other_data(make_study("new", trials=12, prior=["old"]), tmp_path))
    open_study(new.database, new.study)
    copy_new_priors(new)
    why = "(6 trials; the content of data.train has changed)"
    assert told(new) == [f"prior     old: not asked yet {why}"]

    search(new, 12, (lambda sampled: 1 - by_gamma(sampled)) if is_reversed else by_gamma)

    credible = [trial.user_attrs.get(CREDIBLE_PRIORS) for trial in new.database.storage.get_all_trials(2)]
    assert credible[:4] == [["old"], ["old"], None, None]
    dropped = 1 + max(number for number, names in enumerate(credible) if names)
    assert told(new) == [f"prior     old: {f'dropped at trial {max(dropped, 4)}' if is_reversed else 'trusted'} {why}"]
    status = json.loads(json.dumps(read_status(new.database, "new").to_json()))
    assert status["priors"][0]["state"] == ("dropped" if is_reversed else "trusted")


@on_sqlite
def test_every_worker_samples_the_same_from_a_prior(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path
) -> None:
    def first_values(name: str) -> list[dict[str, Any]]:
        new = open_in(of_other_data(make_study(name, trials=6, prior=["old"]), tmp_path))
        search_after_copy(new, 3)
        search(new, 3)  # a worker that begins anew
        return [trial.params for trial in new.database.storage.get_all_trials(study_id(new))]

    assert first_values("one") == first_values("two")


def study_id(session: Session) -> int:
    return session.database.storage.get_study_id_from_name(session.study.name)


@on_sqlite
def test_the_shipped_recordings_are_priors(open_in: Callable[[Study], Session], make_study: MakeStudy) -> None:
    new = open_in(make_study("new", prior=["shipped"]))

    assert [line.partition(" (")[0] for line in prior_lines(new)] == [
        "prior     shipped/demo: a prior mean",
        "prior     shipped/klue_re: a prior mean",
    ]
    search_after_copy(new, 3)
    assert told(new)[0].startswith("prior     shipped/demo: trusted")


# What says nothing, or cannot be read


def unused(session: Session) -> str:
    (line,) = prior_lines(session)
    search_after_copy(session, 3)  # the search does without
    assert told(session) == [line]
    return line.removeprefix("prior     old: not used: ")


@on_sqlite
def test_a_prior_of_another_metric_is_not_used(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    new = open_in(make_study("new", prior=["old"], metric="macro_f1"))

    assert unused(new) == "its metric is accuracy, this study's macro_f1"


@on_sqlite
def test_a_prior_of_other_knobs_is_not_used(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    study = make_study("new", prior=["old"]).model_copy(update={"training": {"dropout": Range(low=0.1, high=0.4)}})
    new = open_in(study)

    (line,) = prior_lines(new)

    assert line == "prior     old: not used: none of its knobs (epochs, gamma) is searched in the same way"


@on_sqlite
@pytest.mark.parametrize(
    ("trials", "level", "reason"),
    [
        (1, by_gamma, "fewer than 3 of its trials have shown something"),
        (4, lambda sampled: 0.5, "all its trials have the value 0.5005"),
    ],
)
def test_a_prior_that_has_shown_too_little_is_not_used(
    open_in: Callable[[Study], Session],
    make_study: MakeStudy,
    tmp_path: Path,
    trials: int,
    level: Callable[[Any], float],
    reason: str,
) -> None:
    search(open_in(make_study("old", trials=5)), trials, level)
    new = open_in(of_other_data(make_study("new", prior=["old"]), tmp_path))

    assert unused(new) == reason


@on_sqlite
def test_of_a_prior_that_still_runs_the_ended_trials_are_taken_over(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    open_study(old.database, make_study("old", trials=TRIALS + 1))
    must_claim(Trials(old.database, old.study, WorkerIdentity(), heartbeat=NO_HEARTBEAT))

    new = open_in(make_study("new", prior=["old"]))

    assert prior_lines(new) == ["prior     old: 6 trials taken over; 1 still ran"]


@on_sqlite
def test_a_run_of_which_no_trial_has_ended_is_refused(
    open_in: Callable[[Study], Session], make_study: MakeStudy
) -> None:
    search(open_in(make_study("old")), 0)

    with pytest.raises(FoldraceError, match=r"^search\.prior: old: none of its trials has ended yet$"):
        prior_lines(open_in(make_study("new", prior=["old"])))


@on_sqlite
def test_only_a_study_with_trials_is_written_to_a_json_file(
    old: Session, open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path
) -> None:
    new = open_in(make_study("new"))
    open_study(new.database, new.study)

    with pytest.raises(FoldraceError, match=r"study new: no trial has ended yet; nothing to write"):
        write_prior(new, tmp_path / "new.json")
    with pytest.raises(FoldraceError, match=r"--prior .*old\.toml: expected a name that ends in \.json"):
        write_prior(old, tmp_path / "old.toml")
    assert not list(tmp_path.glob("*.json"))


@pytest.fixture
def asks(open_in: Callable[[Study], Session], make_study: MakeStudy) -> Callable[[str], str]:
    """What a study is told that names a prior."""

    def refusal(prior: str) -> str:
        with pytest.raises(FoldraceError) as caught:
            prior_lines(open_in(make_study("new", prior=[prior])))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal


@on_sqlite
def test_a_run_that_is_not_there_is_refused(asks: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "runs/other").mkdir(parents=True)
    (tmp_path / "runs/other/study.toml").touch()

    assert asks("old") == f"search.prior: old: no run of that name in {tmp_path / 'runs'}; there: other"


@on_sqlite
def test_a_run_whose_database_is_gone_or_does_not_answer_is_refused(
    asks: Callable[[str], str], open_in: Callable[[Study], Session], make_study: MakeStudy, tmp_path: Path
) -> None:
    folder = Workspace(tmp_path / "runs", "old").study_file
    folder.parent.mkdir(parents=True)
    folder.write_text(make_study("old").to_toml(), encoding="utf-8")
    assert "search.prior: old: sqlite:///" in asks("old")
    assert "no such database" in asks("old")

    away = make_study("old", storage="postgresql+psycopg://u@127.0.0.1:1/x")
    folder.write_text(away.to_toml(), encoding="utf-8")
    with pytest.raises(OutageError, match=r"search\.prior: old: postgresql\+psycopg://u@127\.0\.0\.1:1/x: .*refused"):
        prior_lines(open_in(make_study("new", prior=["old"])))


@on_sqlite
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"format": None}, "format: Input should be 'foldrace-prior-1'"),
        ({"metric": "f1"}, "metric: Input should be"),
        ({"knobs": {"gamma": {"low": 1, "high": 0.4}}}, "the range is upside down: low 1 is above high 0.4"),
        ({"trials": [{"params": {}, "level": 0.5}]}, "trials.0: expected either folds, or level and noise"),
        (
            {"trials": [{"params": {}, "level": 71.0, "noise": 0.1}]},
            "trials.0.level: Input should be less than or equal",
        ),
        ({"trials": [{"params": {}, "folds": [[0.5] * 9]}]}, "trials.0.folds: more than 8 evaluations in a fold"),
        ({"trials": [{"params": {}, "folds": [[0.5]] * 101}]}, "trials.0.folds: Tuple should have at most 100 items"),
        ({"trials": [{"params": {}, "level": 0.5, "noise": 0.1}] * 1001}, "trials: Tuple should have at most 1000"),
        ({"evaluations": 2**70}, "evaluations: Input should be less than or equal to 64"),
        ({"knobs": {"gamma": ITSELF}}, "knobs.gamma.when.gamma: a knob cannot depend on itself"),
        ({"knobs": {"gamma": ON_A_RANGE, "lr": RANGE}}, "knobs.gamma.when.lr: is searched over a range"),
        ({"knobs": {"lr": RANGE | {"step": 1e-300}}}, "a range has at most 1,000,000 steps"),
        (
            {
                "knobs": {"gamma": {"low": 0.4, "high": 1}},
                "trials": [{"params": {"gamma": "high"}, "level": 0.5, "noise": 0.1}],
            },
            "trials.0.params.gamma: missing, or not a value of that knob",
        ),
    ],
)
def test_a_file_that_is_no_prior_is_refused_with_the_key(
    asks: Callable[[str], str], tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    path, right = tmp_path / "old.json", {"format": "foldrace-prior-1", "metric": "accuracy", "knobs": {}, "trials": []}
    path.write_text(json.dumps(right | changed), encoding="utf-8")

    assert asks(str(path)).startswith(f"search.prior: {path}: ")
    assert reason in asks(str(path))


@on_sqlite
def test_a_file_that_is_not_there_is_refused(asks: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "old.json"

    assert asks(str(path)) == f"search.prior: {path}: cannot be read: No such file or directory"


@on_sqlite
def test_a_pipe_is_refused_as_it_has_no_end(asks: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    os.mkfifo(path)

    assert asks(str(path)) == f"search.prior: {path}: cannot be read: not a file"
