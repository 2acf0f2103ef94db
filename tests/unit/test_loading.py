"""Study files as a user has them: found, read, overridden, and refused in one line."""

import re
import tomllib
from pathlib import Path

import pytest

from foldrace.storage.address import parse as parse_url
from foldrace.storage.address import sqlite_file
from foldrace.studies.loading import SHIPPED, find, load, load_stored, parse
from foldrace.studies.settings import Range
from foldrace.studies.study import Search, Study, StudyError

FILE = """
name = "small"

[data]
train = "data/train.tsv"

[training]
lr = 1e-3
gamma = { low = 0.4, high = 1.0 }

[search]
trials = 7
storage = "sqlite:///file.db"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file beside its data; the current folder is another one."""
    monkeypatch.delenv("FOLDRACE_STORAGE", raising=False)
    (tmp_path / "study" / "data").mkdir(parents=True)
    (tmp_path / "study" / "data" / "train.tsv").write_text("a row\n", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "study" / "small.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def refusal(path: str | Path, *overrides: str) -> str:
    with pytest.raises(StudyError) as caught:
        load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Finding and reading


def test_a_studys_paths_are_relative_to_its_file(file: Path) -> None:
    assert load(file).data.train == file.parent / "data" / "train.tsv"
    assert load("../study/small.toml").data.files["train"][0].is_absolute()


def test_a_file_as_windows_writes_it_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())

    assert load(file).name == "small"


def test_another_name_may_be_given(file: Path) -> None:
    assert load(file, name="again").name == "again"


def test_no_such_study_names_the_shipped_ones() -> None:
    assert refusal("mine").startswith("mine: no such study file; shipped studies: ")
    assert refusal("dmeo").startswith("dmeo: no such study file; did you mean demo? shipped studies: ")
    assert "demo_pair, demo_text, klue_re_tiny, " in refusal("dmeo")


def test_a_study_file_whose_ending_is_missing_or_misspelt_is_meant(file: Path) -> None:
    assert refusal(f"../study/{'a' * 252}").startswith(f"../study/{'a' * 252}: no such study file; ")
    assert refusal("../study/small") == "../study/small: no such study file; did you mean ../study/small.toml?"
    assert refusal("../study/smal.toml").startswith(
        "../study/smal.toml: no such study file; did you mean ../study/small.toml?"
    )


def test_a_final_study_that_was_not_exported_yet_is_what_export_writes(file: Path) -> None:
    for root in (Path("runs"), Path("other")):
        (root / "mine").mkdir(parents=True)
        (root / "mine" / "study.toml").write_text(FILE, encoding="utf-8")

    told = "no such study file; foldrace export mine{} writes it once a trial is complete"
    assert refusal("runs/mine/final.toml") == f"runs/mine/final.toml: {told.format('')}"
    assert refusal("other/mine/final.toml") == f"other/mine/final.toml: {told.format(' --workspace other')}"
    assert refusal("other/another/final.toml").startswith("other/another/final.toml: no such study file; shipped ")


def test_a_final_study_of_a_run_that_was_not_begun_is_told_with_what_begins_it(file: Path) -> None:
    told = "runs/another/final.toml: no such study file; foldrace run {} begins it, and "
    export = "foldrace export another writes the file"
    assert refusal("runs/another/final.toml") == told.format("FILE, with its study file,") + export
    Path("another.toml").write_text(FILE, encoding="utf-8")
    assert refusal("runs/another/final.toml") == told.format("another.toml") + export
    Path("runs/other").mkdir(parents=True)
    Path("runs/other/study.toml").touch()
    assert (
        refusal("runs/othr/final.toml")
        == "runs/othr/final.toml: no such study file; did you mean runs/other/final.toml?"
    )


def test_another_name_that_is_none_is_refused_by_its_option(file: Path) -> None:
    with pytest.raises(StudyError, match=r"^--as my study: expected up to 100 Latin letters"):
        load(file, name="my study")


def test_no_such_run_names_the_runs_there_are(tmp_path: Path) -> None:
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "study.toml").write_text(FILE, encoding="utf-8")

    def told(name: str, runs: Path = tmp_path) -> str:
        with pytest.raises(StudyError) as caught:
            load(name, runs=runs)
        return str(caught.value)

    other = "; --workspace names another folder of runs"
    begins = "foldrace run FILE, with its study file, begins it"
    assert told("third") == f"{tmp_path}: no run third there; runs there: first, second; {begins}{other}"
    near = "did you mean second? runs there: first, second"
    assert told("scond") == f"{tmp_path}: no run scond there; {near}{other}"
    assert told("third", tmp_path / "none") == f"{tmp_path / 'none'}: no such folder"


def test_a_run_that_was_not_begun_is_told_with_the_file_that_begins_it(file: Path) -> None:
    with pytest.raises(
        StudyError, match=r"no run small there; runs there: none; foldrace run FILE, with its study file, "
    ):
        load("small", runs=Path("runs"))
    Path("small.toml").write_text(FILE, encoding="utf-8")
    with pytest.raises(StudyError, match=r"no run small there; runs there: none; foldrace run small\.toml begins it;"):
        load("small", runs=Path("runs"))


def test_the_folder_of_a_run_is_the_study_as_it_was_run(file: Path) -> None:
    run = Path("my/runs/small")
    run.mkdir(parents=True)
    (run / "study.toml").write_text(FILE, encoding="utf-8")

    assert load("my/runs/small", runs=run.parent, files=False).name == "small"
    with pytest.raises(StudyError, match=r"^my/runs/small: no such study file"):
        load("my/runs/small")


def test_a_run_that_has_final_jobs_alone_is_found_by_its_name(tmp_path: Path) -> None:
    for number in (2, 10):
        (tmp_path / "mine" / f"final-{number}").mkdir(parents=True)
        (tmp_path / "mine" / f"final-{number}" / "study.toml").write_text(FILE, encoding="utf-8")

    assert find("mine", runs=tmp_path) == tmp_path / "mine" / "final-10" / "study.toml"
    with pytest.raises(StudyError, match=r"did you mean mine. runs there: mine;"):
        find("mien", runs=tmp_path)


def test_a_file_goes_before_a_shipped_study_of_its_name(file: Path) -> None:
    Path("koelectra_re").write_text(FILE, encoding="utf-8")

    assert find("koelectra_re") == Path("koelectra_re")
    assert find("klue_re_tiny") == SHIPPED / "klue_re_tiny.toml"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_study_can_be_run(path: Path) -> None:
    study = parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path))

    assert study.name == path.stem
    conditional = {knob for knob, setting in study.searched.items() if setting.when}
    assert not study.searched or set(study.search.baseline[0]) == set(study.searched) - conditional


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = \n", "not a TOML file: Invalid value (at line 1, column 8)"),
        (b"name = '\xff'\n", "not a TOML file: 'utf-8' codec can't decode"),
        (b"", "name: missing"),
        (b"name = 's'\ndata = 'train.tsv'\n", "data: Input should be"),
        (FILE.replace("lr =", "lrr =").encode(), "training.lrr: unknown knob; did you mean lr? known: "),
    ],
)
def test_a_file_that_is_no_study_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)

    assert refusal(file).startswith(f"{file}: {message}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label\n"),
        ("a.TSV", b"text\tlabel\n" * 10_000),
        ("a.jsonl", b'{"text": 1}\n'),
        ("a.parquet", b"PAR1\xff"),
    ],
)
def test_rows_are_no_study_file_but_init_writes_one_for_them(file: Path, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)

    told = f"foldrace init {name} writes a study for them"
    assert refusal(name) == f"{name}: not a study file, but rows by its name; {told}"


def test_a_folder_is_no_study_file(file: Path) -> None:
    assert refusal(file.parent).startswith(f"{file.parent}: no such study file")


@pytest.mark.parametrize(
    ("newer", "message"),
    [
        ("training = { patience = 0.5 }", "training.patience: unknown knob"),
        ("training = { lrr = 1 }", "training.lrr: unknown knob"),
        ("folds = { repeats = 2 }", "folds.repeats: unknown key"),
        ("search = { pruner = 'oracle' }", "search.pruner: Input should be .* found 'oracle'"),
    ],
)
def test_a_run_of_a_newer_version_says_so(tmp_path: Path, newer: str, message: str) -> None:
    stored = tmp_path / "old" / "study.toml"
    stored.parent.mkdir()
    stored.write_text(f"name = 'old'\ndata = {{ train = 'train.tsv' }}\n{newer}\n", encoding="utf-8")

    expected = rf"^{re.escape(str(stored))}: {message}; a newer foldrace made it, so update foldrace$"
    with pytest.raises(StudyError, match=expected):
        load("old", runs=tmp_path)
    with pytest.raises(StudyError, match=expected):
        load_stored(stored)


@pytest.mark.parametrize("key", ["train", "test", "labels"])
def test_a_missing_data_file_is_named_with_its_key(file: Path, key: str) -> None:
    message = refusal(file, f"data.{key}=none.tsv")

    missing = Path("none.tsv").absolute()
    assert message == f"--set data.{key}: no file {missing}; --set data.{key}=PATH names another"
    named = f'name = "small"\ndata = {{ train = "data/train.tsv", {key} = "none.tsv" }}\n'
    file.write_text(named.replace('train = "data/train.tsv", train', "train"), encoding="utf-8")
    missing = file.parent / "none.tsv"
    assert refusal(file) == f"{file}: data.{key}: no file {missing}; --set data.{key}=PATH names another"


# Overrides


def overridden(file: Path, *overrides: str) -> Study:
    return load(file, overrides)


def test_an_override_sets_any_key(file: Path) -> None:
    study = overridden(file, "training.lr=3e-5", "search.trials=3", "model.name=my/model", "final.seeds=[1, 2]")

    assert study.fixed["lr"] == 3e-5
    assert study.search.trials == 3
    assert study.model.name == "my/model"
    assert study.final.seeds == (1, 2)


def test_the_last_of_several_overrides_of_a_key_counts(file: Path) -> None:
    assert overridden(file, "search.trials=5", "search={trials=7}", "search.trials=9").search.trials == 9


def test_a_value_that_a_program_gave_is_told_by_its_key_alone(file: Path) -> None:
    with pytest.raises(StudyError, match=r"^training\.lr: "):
        load(file, {"training.lr": "x"})


def test_a_file_of_a_prior_begins_at_the_folder_of_its_study_file(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("[search]", '[search]\nprior = ["old", "old.json"]')
    file.write_text(text, encoding="utf-8")

    assert load(file).search.prior == ("old", str(file.parent / "old.json"))
    assert load(file, ['search.prior=["old.json"]']).search.prior == (str(Path.cwd() / "old.json"),)


def test_a_relative_sqlite_file_begins_at_the_folder_of_its_study_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = file.parent.rename(tmp_path / "a b%41#?")
    file = Path("../a b%41#?/small.toml")

    of_file = parse_url(str(load(file).search.storage))
    of_option = parse_url(str(load(file, ["search.storage=sqlite:///set.db"]).search.storage))
    monkeypatch.setenv("FOLDRACE_STORAGE", "sqlite:///env.db?timeout=5")
    of_environment = parse_url(str(load(file).search.storage))

    assert sqlite_file(of_file).parent.samefile(folder)
    assert sqlite_file(of_option) == Path.cwd() / "set.db"
    assert (sqlite_file(of_environment), of_environment.query["timeout"]) == (Path.cwd() / "env.db", "5")


@pytest.mark.parametrize("url", ["sqlite:////abs/x.db", "sqlite:///:memory:", "sqlite://", "workspace", "nonsense"])
def test_a_storage_that_is_no_relative_file_stays_as_it_is(file: Path, url: str) -> None:
    assert overridden(file, f"search.storage={url}").search.storage == url


def test_an_override_may_search_a_knob_or_fix_one(file: Path) -> None:
    study = overridden(file, "training.lr={low = 1e-5, high = 1e-3, log = true}", "training.gamma=1.0")

    assert study.searched == {"lr": Range(low=1e-5, high=1e-3, log=True)}
    assert study.fixed == {"gamma": 1.0}


def test_a_knob_that_an_override_fixes_leaves_the_baseline() -> None:
    study = load("demo", ["training.epochs=3", "training.gamma={low = 0.5, high = 1.0}"])

    assert study.fixed["epochs"] == 3
    assert set(study.search.baseline[0]) == set(study.searched)
    assert "gamma" in study.search.baseline[0]


def test_an_override_may_move_one_end_of_a_range(file: Path) -> None:
    assert overridden(file, "training.gamma.low=0.9").searched == {"gamma": Range(low=0.9, high=1.0)}


def test_the_last_override_of_a_key_holds(file: Path) -> None:
    assert overridden(file, "search.trials=3", "search.trials=4").search.trials == 4


def test_an_overridden_path_is_relative_to_the_current_folder(file: Path) -> None:
    Path("mine.tsv").write_text("a row\n", encoding="utf-8")

    study = overridden(file, "data.train=mine.tsv")

    assert study.data.train == Path.cwd() / "mine.tsv"


def test_a_value_that_is_not_toml_is_text(file: Path) -> None:
    assert overridden(file, "model.name=../models/koelectra").model.name == "../models/koelectra"
    assert overridden(file, "search.storage=sqlite:////a=b.db").search.storage == "sqlite:////a=b.db"


@pytest.mark.parametrize("override", ["training.lr", "=3", "training..lr=3", "training.LR=3", "lr = 3"])
def test_an_override_that_is_not_key_and_value_is_refused(file: Path, override: str) -> None:
    assert refusal(file, override) == f"--set {override}: expected KEY=VALUE, as in --set training.lr=3e-5"


def test_an_override_inside_a_value_is_refused(file: Path) -> None:
    assert refusal(file, "training.lr.low=1e-5") == "--set training.lr.low: lr is a value, not a section"


def test_an_override_with_an_unknown_key_is_refused(file: Path) -> None:
    known = ", ".join(Search.model_fields)
    assert refusal(file, "search.trails=3") == f"--set search.trails: unknown key; did you mean trials? known: {known}"
    assert refusal(file, "lr=3e-5") == "--set lr: unknown key; did you mean training.lr?"
    assert refusal(file, "trials=5") == "--set trials: unknown key; did you mean search.trials?"
    assert refusal(file, "seed=5") == "--set seed: unknown key; did you mean folds.seed or search.seed?"


def test_what_is_wrong_is_of_the_override_or_of_the_file(file: Path) -> None:
    assert refusal(file, "training.lr={low = 1}") == "--set training.lr.high: missing"
    assert refusal(file, "folds.count=1").startswith("--set folds.count: Input should be greater")
    file.write_text(FILE.replace("trials = 7", "trials = 0"), encoding="utf-8")
    assert refusal(file, "training.lr=3e-5").startswith(f"{file}: search.trials: Input should be greater")


@pytest.mark.parametrize("value", ["{low=5", "[no_relation]", '"a', "'a"])
def test_an_override_that_begins_as_toml_and_is_none_is_refused(file: Path, value: str) -> None:
    wrong = f"what begins with {value[0]} has to be TOML, found {value!r}"
    told = f"--set training.epochs: {wrong}; --set 'training.epochs=VALUE' keeps its quotes from the shell"
    assert refusal(file, f"training.epochs={value}") == told


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.exclude_labels=no_relation", "expected a list, as in [\"no_relation\"], found 'no_relation'"),
        ("final.seeds=5", "expected a list, as in [5], found 5"),
        ("final.seeds={a = 1}", "expected a list, found {'a': 1}"),
    ],
)
def test_one_value_is_no_list(file: Path, override: str, message: str) -> None:
    assert refusal(file, override) == f"--set {override.partition('=')[0]}: {message}"


# The environment


def test_the_environment_goes_before_the_file_and_an_override_before_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(file).search.storage == f"sqlite:///{file.parent}/file.db"

    monkeypatch.setenv("FOLDRACE_STORAGE", "postgresql+psycopg://db/env")

    assert load(file).search.storage == "postgresql+psycopg://db/env"
    assert load(file, ["search.storage=sqlite:////set.db"]).search.storage == "sqlite:////set.db"


def test_an_empty_environment_variable_is_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDRACE_STORAGE", "")

    assert load(file).search.storage == f"sqlite:///{file.parent}/file.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ("x = " + "{a = " * 3000 + "1" + "}" * 3000, "nested too deep"),
        ("x = " + "9" * 5000, "not a TOML file"),
        ("[training]\nlr." + "a." * 20_000 + "b = 1", "500 dots in a line"),
        ("[" + "a." * 20_000 + "b]", "500 dots in a line"),
        ("x = {" + "a." * 20_000 + "b = 1}", "500 dots in a line"),
        ("k" * 100_001 + " = 1", "at most 100,000 characters"),
    ],
    ids=["lists", "tables", "digits", "dots", "header", "inline", "long"],
)
def test_a_file_that_toml_cannot_hold_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(StudyError, match=said):
        load(file)


@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 5000 + "]" * 5000, "{a = " * 5000 + "1" + "}" * 5000], ids=["digits", "lists", "tables"]
)
def test_a_set_value_that_toml_cannot_hold_is_one_line(file: Path, value: str) -> None:
    with pytest.raises(StudyError, match=r"training\.lr: .* (number|TOML), found '") as caught:
        load(file, [f"training.lr={value}"])
    assert len(str(caught.value)) < len(str(file)) + 350


@pytest.mark.parametrize("key", ["search.baseline", "training.lr", "model.name", "name"])
def test_a_value_that_is_nested_deep_is_shown_in_one_short_line(file: Path, key: str) -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(StudyError) as caught:
        load(file, {key: deep})
    assert len(str(caught.value)) < len(str(file)) + 300
