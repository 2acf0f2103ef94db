"""What a user can mend: exit status 2, one clear line that names the place, nothing left half written."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.studies.loading import SHIPPED
from tests.support.commands import SMALL, Command, Finished, foldrace_in


def refusal(told: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command prints to standard error, beside a warning."""
    assert told.returncode == 2, (told.returncode, told.stdout, told.stderr)
    lines = [line for line in told.stderr.splitlines() if not line.startswith("warning ")]
    assert len(lines) == 1, told.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.learning_rate=1e-3", r"training\.learning_rate: unknown knob"),
        ("search.trails=3", r"search\.trails: unknown key"),
        ("training.lr={low=1e-2,high=1e-3}", r"training\.lr: the range is upside down: low 0\.01 is above high 0\.001"),
        ("training.dropout=1.0", r"training\.dropout: Input should be less than 1, found 1\.0"),
        ("training.batch_size=0", r"training\.batch_size: .* 1, found 0"),
        ("data.train=nowhere.tsv", r"data\.train: no file .*nowhere\.tsv; --set data\.train=PATH"),
        ("search.storage=nonsense", r"the storage URL does not parse"),
        ("search.storage=postgresql+psycopg://u:s3cret@h:port/x", r"the storage URL does not parse; [^3]*$"),
        ("search.lease_seconds=29", r"search\.lease_seconds: 29 is shorter than three heartbeats; give at least 30"),
    ],
)
def test_a_study_that_cannot_run_is_refused(foldrace: Command, tmp_path: Path, override: str, expected: str) -> None:
    line = refusal(foldrace("run", "demo", "--set", override))

    assert re.search(expected, line)
    assert not (tmp_path / "runs").exists()


def test_check_refuses_a_storage_that_run_would_refuse(foldrace: Command) -> None:
    assert "the storage URL does not parse" in refusal(foldrace("check", "demo", "--set", "search.storage=nonsense"))


def test_a_data_file_with_a_bad_row_is_refused_with_its_line(foldrace: Command, tmp_path: Path) -> None:
    rows = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "train.tsv").write_text("".join([*rows[:4], "one\tcolumn\n", *rows[4:]]), encoding="utf-8")

    line = refusal(foldrace("run", "demo", "--set", "data.train=train.tsv"))

    assert "train.tsv, line 5" in line
    assert not (tmp_path / "runs").exists()


def test_more_folds_than_groups_is_refused(foldrace: Command, tmp_path: Path) -> None:
    rows = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "train.tsv").write_text("".join(rows[:20]), encoding="utf-8")

    line = refusal(foldrace("check", "demo", "--set", "data.train=train.tsv", "--set", "folds.count=50"))

    assert "50" in line
    assert "fold" in line


def test_a_model_that_is_not_there_is_refused_before_the_study_is_made(foldrace: Command) -> None:
    line = refusal(foldrace("run", "demo", "--workers", "1", "--set", "model.name=nobody/nothing", *SMALL))

    assert "nobody/nothing" in line
    assert "--set model.name=FOLDER" in line
    assert "no run demo there" in refusal(foldrace("status", "demo"))


def test_a_prior_that_is_not_there_is_refused_before_the_study_is_made(foldrace: Command, tmp_path: Path) -> None:
    line = refusal(foldrace("run", "demo", "--from", "nowhere", "--from", "shipped"))

    assert line == f"foldrace: search.prior: nowhere: no run of that name in {tmp_path / 'runs'}; there: none"
    assert "no run demo there" in refusal(foldrace("status", "demo"))


def test_final_without_a_test_file_is_refused(finished: Finished, tmp_path: Path) -> None:
    text = (finished.workspace / "final.toml").read_text(encoding="utf-8")
    (tmp_path / "final.toml").write_text(re.sub(r'(?m)^test = ".*"\n', "", text), encoding="utf-8")

    assert "data.test is missing" in refusal(foldrace_in(tmp_path, "final", "final.toml"))


def test_a_submission_that_cannot_be_written_is_refused_before_a_fold_is_trained(
    finished: Finished, tmp_path: Path
) -> None:
    names = json.loads((SHIPPED / "demo/label_type.json").read_text(encoding="utf-8"))
    (tmp_path / "codes.json").write_text(json.dumps({name: code + 1 for name, code in names.items()}))
    probs = ("--set", "data.labels=codes.json", "--set", "final.submission=probs", "--as", "other")

    line = refusal(foldrace_in(tmp_path, "final", str(finished.workspace / "final.toml"), *probs))

    assert "label code 11: a probs submission of 11 labels has 0 to 10" in line
    assert not (tmp_path / "runs/other/final-1").exists()


def test_final_of_a_study_that_is_still_searched_is_refused(foldrace: Command) -> None:
    assert "export a trial first: foldrace export demo" in refusal(foldrace("final", "demo"))


def test_export_without_a_study_or_a_complete_trial_is_refused(finished: Finished) -> None:
    assert "no run other there; runs there: demo" in refusal(
        foldrace_in(finished.folder, "export", "demo", "--as", "other")
    )
    assert "trial 99 is not there; complete or put aside: 0" in refusal(
        foldrace_in(finished.folder, "export", "demo", "--trial", "99")
    )


def test_a_study_file_that_changed_under_its_run_is_refused_with_what_differs(finished: Finished) -> None:
    changed = ("run", "runs/demo/study.toml", "--set", "training.lr=2e-3")

    line = refusal(foldrace_in(finished.folder, *changed))

    assert "training.lr is 0.002, was 0.001" in line
    assert line.endswith(
        "; --as NEW_NAME makes another; with --from demo beside it, that one begins from what is known"
    )


def test_what_reads_says_that_a_study_file_was_edited(finished: Finished, tmp_path: Path) -> None:
    edited = tmp_path / "edited.toml"
    text = (finished.workspace / "study.toml").read_text(encoding="utf-8")
    edited.write_text(text.replace("lr = 0.001", "lr = 0.002"), encoding="utf-8")
    page = tmp_path / "report.html"

    status = foldrace_in(finished.folder, "status", str(edited))
    report = foldrace_in(finished.folder, "report", str(edited), "--output", str(page))
    check = foldrace_in(finished.folder, "check", str(edited))

    told = "training.lr is 0.002, was 0.001"
    assert f"edited    the study file is no longer that of the run: {told}; shown is the run" in status.stdout
    assert report.returncode == 0
    assert told in page.read_text(encoding="utf-8")
    assert f"a run of this name is there with other settings: {told}; `run` refuses this one, " in check.stdout
    assert "--as NEW_NAME makes another; with --from demo beside it" in check.stdout
    assert "edited" not in foldrace_in(finished.folder, "status", "demo").stdout


def test_a_run_is_found_from_another_folder_by_its_study_file(finished: Finished, tmp_path: Path) -> None:
    study = str(finished.workspace / "study.toml")

    assert "3 of 3 trials done" in foldrace_in(tmp_path, "status", study).stdout
    assert f"{finished.workspace}/final.toml" in foldrace_in(tmp_path, "export", study).stdout
    assert not (tmp_path / "runs").exists()


def test_a_trial_is_not_exported_with_settings_that_it_was_not_run_with(finished: Finished, tmp_path: Path) -> None:
    changed = ("export", "demo", "--set", "training.lr=0.5", "--output", str(tmp_path / "final.toml"))

    assert "training.lr is 0.5, was 0.001" in refusal(foldrace_in(finished.folder, *changed))
    assert not (tmp_path / "final.toml").exists()


def test_a_study_without_anything_to_search_is_a_final_job(foldrace: Command, finished: Finished) -> None:
    assert "foldrace final" in refusal(foldrace("run", str(finished.workspace / "final.toml")))


def test_seeds_that_would_vote_twice_are_refused(foldrace: Command, finished: Finished) -> None:
    line = refusal(foldrace("final", str(finished.workspace / "final.toml"), "--seeds", "5,5"))

    assert "final.seeds: the seed 5 is listed twice" in line


def test_seeds_that_are_no_numbers_are_refused(foldrace: Command) -> None:
    assert (
        refusal(foldrace("final", "demo", "--seeds", "a,5"))
        == "foldrace: --seeds a,5: expected whole numbers, as in 77,78"
    )


def test_a_device_that_does_not_work_is_refused_before_a_trial_is_taken(foldrace: Command) -> None:
    assert "expected auto, cpu or cuda" in refusal(foldrace("worker", "demo", "--device", "gpu"))
    assert "no run demo there" in refusal(foldrace("status", "demo"))


def test_a_worker_with_a_short_lease_leaves_no_study(foldrace: Command) -> None:
    assert "three heartbeats" in refusal(foldrace("worker", "demo", "--set", "search.lease_seconds=29"))
    assert "no run demo there" in refusal(foldrace("status", "demo"))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["final", "demo", "--as", "zz"], "is still searched"),
        (["final", "demo", "--set", "search.storage=sqlite:///cs.db"], "is still searched"),
        (["run", "demo", "--from", "nobody"], "no run of that name"),
        (["run", "demo", "--workers", "1", "--set", "model.name=/nowhere"], "no folder /nowhere"),
    ],
)
def test_a_refused_command_leaves_nothing(foldrace: Command, tmp_path: Path, command: list[str], expected: str) -> None:
    assert expected in refusal(foldrace(*command))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "run", "worker"])
def test_the_folder_of_a_sqlite_file_is_not_made(foldrace: Command, tmp_path: Path, command: str) -> None:
    line = refusal(foldrace(command, "demo", "--set", "search.storage=sqlite:///none/x.db"))

    wrong = f"search.storage = sqlite:///{tmp_path}/none/x.db: no folder {tmp_path}/none"
    assert line == f"foldrace: {wrong}; make it, or give the path of a file in another one"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "worker", "status"])
def test_a_database_that_does_not_answer_is_told_apart_from_a_mistake(foldrace: Command, command: str) -> None:
    told = foldrace(command, "demo", "--set", "search.storage=postgresql+psycopg://u:s3cret@127.0.0.1:1/x")

    assert told.returncode == 75
    warning, line = told.stderr.splitlines()
    assert warning.startswith("warning   other users of this machine see the password")
    assert re.fullmatch(r"foldrace: postgresql\+psycopg://u@127\.0\.0\.1:1/x: .*Connection refused.*", line)
    assert "s3cret" not in told.stdout + told.stderr


@pytest.mark.parametrize("command", ["run", "worker", "status", "export", "pause"])
def test_a_database_of_a_newer_version_is_refused(foldrace: Command, tmp_path: Path, command: str) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/newer.db")
    database.transact(lambda connection: connection.execute(sa.update(tables.version).values(version=99)))
    database.close()

    line = refusal(foldrace(command, "demo", "--set", "search.storage=sqlite:///newer.db"))

    assert re.search(r"newer\.db: made by a newer foldrace .*; update foldrace", line)


def test_debug_shows_the_traceback(foldrace: Command) -> None:
    told = foldrace("run", "demo", "--set", "training.batch_size=0", "--debug")

    assert "Traceback" in told.stderr
