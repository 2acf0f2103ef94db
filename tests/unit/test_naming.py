"""Which folder of runs is meant: the named one, the one here, or the one that lies with the study file."""

from pathlib import Path

import pytest

from foldrace.search.api.inspect import list_runs
from foldrace.search.api.naming import final_folder, find_workspace, open_run, refuse_run, split_job
from foldrace.search.cli.inspect import report
from foldrace.search.ensemble.job import FinalError, read_summary
from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import WORKSPACE
from foldrace.studies.study import Study, StudyError

FILE = 'name = "relations"\n\n[data]\ntrain = "train.tsv"\n'


def begin(run: Path) -> None:
    """What a search leaves first."""
    run.mkdir(parents=True)
    (run / "study.toml").touch()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study file and its run, beside the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "project"
    begin(folder / "runs" / "relations")
    (folder / "relations.toml").write_text(FILE, encoding="utf-8")
    return folder


def test_a_run_beside_its_study_file_is_found(project: Path) -> None:
    assert find_workspace(project / "relations.toml") == project / "runs"


def test_a_run_around_its_exported_file_is_found(project: Path) -> None:
    exported = project / "runs" / "relations" / "final.toml"
    exported.write_text(FILE, encoding="utf-8")

    assert find_workspace(exported) == project / "runs"


def test_a_run_here_comes_first(project: Path) -> None:
    begin(WORKSPACE / "relations")

    assert find_workspace(project / "relations.toml") == WORKSPACE


def test_what_a_search_that_could_not_begin_leaves_here_is_no_run(project: Path) -> None:
    (WORKSPACE / "relations" / "data-0123abcd").mkdir(parents=True)

    assert find_workspace(project / "relations.toml") == project / "runs"


def test_a_named_folder_is_taken_whatever_is_there(project: Path) -> None:
    assert find_workspace(project / "relations.toml", project / "elsewhere") == project / "elsewhere"


@pytest.mark.parametrize("text", ["", "name = 3", "name = [", 'name = "another"'])
def test_a_file_without_a_run_beside_it_means_the_folder_here(project: Path, text: str) -> None:
    (project / "relations.toml").write_text(text, encoding="utf-8")

    assert find_workspace(project / "relations.toml") == WORKSPACE


def test_another_name_is_looked_for_by_itself(project: Path) -> None:
    begin(project / "runs" / "second")

    assert find_workspace(project / "relations.toml", name="second") == project / "runs"
    assert find_workspace(project / "relations.toml", name="third") == WORKSPACE


def test_a_run_that_is_not_there_is_refused_with_those_that_are_and_nothing_is_made(project: Path) -> None:
    told = "no run demo there; runs there: relations; foldrace run demo begins it; --workspace names another"
    with pytest.raises(StorageError, match=told), open_run("demo", project / "runs"):
        pass
    assert not (project / "runs" / "demo").exists()
    near = "no run relation there; did you mean relations. runs there: relations"
    study = Study.model_validate({"name": "relation", "data": {"train": "train.tsv"}})
    with pytest.raises(StorageError, match=near), open_run(study, project / "runs"):
        pass


def test_the_folder_of_a_run_names_its_workspace(project: Path) -> None:
    run, job = "../project/runs/relations", "../project/runs/relations/final-1"
    (project / "runs/relations/study.toml").write_text(FILE, encoding="utf-8")
    Path(job).mkdir()

    for given in (run, f"{run}/", job):
        assert find_workspace(given) == Path("../project/runs")
    assert find_workspace(run, project / "runs") == project / "runs"
    with pytest.raises(StorageError, match=f"^--workspace runs: {run} is a run in another folder; leave one of"):
        find_workspace(run, "runs")
    assert split_job(job) == (run, "final-1")
    assert find_workspace("relations") == find_workspace("../project") == WORKSPACE
    with pytest.raises(StorageError, match=r"runs/relations/study\.db: no such database"), open_run(run, None):
        pass
    assert final_folder(run, None) == Path(run)
    (Path(job) / "ensemble.json").touch()
    assert final_folder(run, None) == Path(job)


def test_the_current_folder_may_be_that_of_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = project / "link"
    link.symlink_to(project / "runs/relations")
    assert find_workspace(str(link)) == project / "runs"
    monkeypatch.chdir(project / "runs/relations")
    assert find_workspace(".") == project / "runs"
    (project / "runs/relations/final-1").mkdir()
    monkeypatch.chdir("final-1")
    assert find_workspace("..") == project / "runs"


def test_a_workspace_that_is_not_there_has_no_list(project: Path) -> None:
    assert list_runs() == []
    with pytest.raises(StorageError, match=r"^none: no such folder$"):
        list_runs("none")


def test_the_name_of_a_search_is_no_final_study(project: Path) -> None:
    root = project / "runs"
    exported = root / "relations" / "final.toml"

    told = f"relations: the name of a run; foldrace final takes {exported}"
    with pytest.raises(StudyError, match=f"^{told}, which foldrace export relations --workspace {root} writes first$"):
        refuse_run("relations", root)
    exported.touch()
    with pytest.raises(StudyError, match=f"^{told}$"):
        refuse_run("relations", root)
    for other in (exported, str(exported), "another", "demo"):
        refuse_run(other, root)


def test_a_run_without_a_finished_ensemble_is_told_with_what_comes_next(project: Path) -> None:
    def told(run: str) -> str:
        with pytest.raises(FinalError) as caught:
            read_summary(final_folder(run, "runs"))
        return str(caught.value).replace("no finished ensemble there; ", "")

    begin(Path("runs/relations"))
    begin(Path("runs/other/final-1"))
    final = "foldrace final runs/relations/final.toml makes it"
    export = f"foldrace export relations writes runs/relations/final.toml, and {final}"
    folder = "give the folder of a final job, such as runs/demo/final-1"
    assert told("relations") == f"runs/relations: {export}"
    assert told("relations/final-2") == f"runs/relations/final-2: {export}"
    assert "/runs: no run relation there; did you mean relations? runs there: other, relations;" in told("relation")
    assert "/runs: no run demo there; runs there: other, relations; foldrace run demo begins it;" in told("demo")
    assert told("another/place") == f"another/place: {folder}"
    assert told("other") == f"runs/other: {folder}"
    Path("runs/relations/final.toml").touch()
    assert told("relations") == f"runs/relations: {final}"
    assert told("runs/relations/final-1") == f"runs/relations/final-1: {final}"


def test_a_study_file_means_the_newest_ensemble_of_its_run(project: Path) -> None:
    run, file = project / "runs" / "relations", project / "relations.toml"
    with pytest.raises(FinalError, match=r"^.*/runs/relations: no finished ensemble there; foldrace export relations"):
        read_summary(final_folder(file, None))
    for number in (1, 2):
        (run / f"final-{number}").mkdir()
        (run / f"final-{number}" / "ensemble.json").write_text("{}", encoding="utf-8")
        (run / f"final-{number}" / "study.toml").write_text(FILE, encoding="utf-8")
    (run / "final.toml").write_text(FILE, encoding="utf-8")

    assert [final_folder(str(one), None) for one in (file, run / "final.toml")] == [run / "final-2"] * 2
    assert final_folder(run / "final-1/study.toml", None) == run / "final-1"
    begin(WORKSPACE / "relations")
    assert final_folder("../project/relations.toml", WORKSPACE) == WORKSPACE / "relations"


@pytest.mark.parametrize("job", ["relations/final-1", "runs/relations/final-1"])
def test_the_report_of_a_final_job_that_is_not_there_is_told_with_what_comes_next(project: Path, job: str) -> None:
    begin(Path("runs/relations"))

    export = "foldrace export relations writes runs/relations/final.toml"
    with pytest.raises(FinalError, match=f"^runs/relations/final-1: no finished ensemble there; {export}, and"):
        report(job)
