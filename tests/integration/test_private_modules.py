"""What we use of other projects that they do not promise, in one place: an update that changes it fails here first.

Each test says what is expected, and its docstring where it is used. The ceilings in pyproject.toml stand for these.
"""

import inspect
from importlib.util import find_spec
from pathlib import Path

import bottle
import optuna
import optuna_dashboard
import pytest
import sqlalchemy as sa
import torch
from optuna.storages import RDBStorage, _CachedStorage
from optuna.study._frozen import FrozenStudy
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.electra.modeling_electra import ElectraLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from foldrace.search.dashboard.storage import STUDY_ROUTE, DashboardStorage
from foldrace.storage import tables
from foldrace.storage.database import Database

# Optuna


def test_optuna_wraps_a_database_in_a_storage_that_caches(database: Database) -> None:
    """search/dashboard/storage.py is such a storage of the same database, with quicker answers."""
    assert isinstance(database.storage, _CachedStorage)
    assert isinstance(database.storage._backend, RDBStorage)
    assert list(inspect.signature(_CachedStorage.__init__).parameters) == ["self", "backend"]


def test_a_frozen_study_is_made_of_its_attributes() -> None:
    """search/dashboard/storage.py makes them from rows."""
    study = FrozenStudy(
        study_name="s",
        direction=None,
        directions=[optuna.study.StudyDirection.MAXIMIZE],
        user_attrs={"a": 1},
        system_attrs={"b": 2},
        study_id=3,
    )

    assert (study._study_id, study.study_name, study.user_attrs, study.system_attrs) == (3, "s", {"a": 1}, {"b": 2})


def test_a_frozen_trial_has_the_id_of_its_row(database: Database) -> None:
    """search/sampler reads the attributes of trials by it."""
    study = optuna.create_study(storage=database.storage)
    study.ask()

    with database.engine.connect() as connection:
        stored = connection.execute(sa.select(tables.trials.c.trial_id)).scalars().all()
    assert [trial._trial_id for trial in study.get_trials()] == stored


def test_our_copies_of_optunas_tables_match(database: Database) -> None:
    """storage/tables.py has them: what is fenced by a lease is written in one transaction with it."""
    inspector = sa.inspect(database.engine)
    for table in tables.optunas.tables.values():
        there = {column["name"]: column["type"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if isinstance(there[column.name], sa.Enum):
                assert set(column.type.enums) <= set(there[column.name].enums)  # type: ignore[attr-defined]
            assert column.type.python_type is there[column.name].python_type


# optuna-dashboard


def test_the_dashboard_is_an_app_of_bottle_with_a_page_for_each_study() -> None:
    """search/dashboard/server.py installs a plugin in it, which completes the answer of this route."""
    app = optuna_dashboard.wsgi(optuna.storages.InMemoryStorage())

    assert isinstance(app, bottle.Bottle)
    assert ("GET", STUDY_ROUTE) in [(route.method, route.rule) for route in app.routes]


def test_the_dashboard_keeps_the_note_of_a_trial_with_its_study(database: Database) -> None:
    """search/dashboard/storage.py reads the notes of all trials at once, by their keys."""
    study = optuna.create_study(storage=database.storage)
    trial = study.ask()
    optuna_dashboard.save_note(trial, "a note " * 1000)

    assert DashboardStorage(database).notes(study._study_id) == {
        trial._trial_id: {"version": 1, "body": "a note " * 1000}
    }


# transformers


@pytest.fixture(params=["electra", "bert", "roberta", "xlm-roberta"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    config = AutoConfig.for_model(
        request.param,
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        attn_implementation="sdpa",
    )
    built: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return built.eval()


def test_an_encoder_has_a_list_of_layers_with_these_parts(model: PreTrainedModel) -> None:
    """trainer/modeling/shortcuts.py computes the last layer by its parts, for the first token alone."""
    layers = model.base_model.encoder.layer
    attention = layers[-1].attention.self

    assert isinstance(layers, nn.ModuleList)
    assert isinstance(layers[-1], ElectraLayer | BertLayer | RobertaLayer | XLMRobertaLayer)
    assert isinstance(layers[-1], GradientCheckpointingLayer)
    assert (attention.num_attention_heads, attention.attention_head_size) == (2, 8)
    assert isinstance(attention.dropout, nn.Dropout)
    for part in (attention.query, attention.key, attention.value, layers[-1].intermediate.dense):
        assert isinstance(part, nn.Linear)
    hidden = torch.ones(1, 1, 16)
    assert layers[-1].attention.output(hidden, hidden).shape == (1, 1, 16)
    assert layers[-1].output(layers[-1].intermediate(hidden), hidden).shape == (1, 1, 16)


def test_an_encoder_is_called_with_its_mask_by_name(model: PreTrainedModel) -> None:
    """trainer/modeling/shortcuts.py gives it another mask, of (rows, 1, 1, tokens), before it is called."""
    seen: list[object] = []

    def keep(_: nn.Module, args: object, keywords: dict[str, object]) -> None:
        seen.append(keywords.get("attention_mask"))

    mask = torch.ones(1, 4, dtype=torch.long)
    model.base_model.register_forward_pre_hook(keep, with_kwargs=True)
    model(input_ids=torch.ones(1, 4, dtype=torch.long), attention_mask=mask)

    assert seen == [mask]


def test_an_attention_of_ones_own_is_called_with_these_arguments(model: PreTrainedModel) -> None:
    """trainer/modeling/shortcuts.py registers one for the CPU, with the mask that torch's own has."""
    seen: list[tuple[object, ...]] = []

    def attend(
        module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: object, **more: object
    ) -> tuple[torch.Tensor, None]:
        seen.append((query.shape, key.shape, value.shape, more["dropout"]))
        return value.transpose(1, 2).contiguous(), None

    AttentionInterface.register("of_a_test", attend)
    AttentionMaskInterface.register("of_a_test", sdpa_mask)
    model.set_attn_implementation("of_a_test")
    model(input_ids=torch.ones(1, 4, dtype=torch.long))

    shape = torch.Size([1, 2, 4, 8])
    assert seen == [(shape, shape, shape, 0.0)]


def test_a_family_draws_weights_anew_that_are_not_marked_as_there(model: PreTrainedModel) -> None:
    """trainer/modeling/classifier.py has it draw the classifier of a model that was trained for another task."""
    layer = model.base_model.encoder.layer[0].intermediate.dense
    there = layer.weight.clone()

    layer.weight._is_hf_initialized = True
    model._init_weights(layer)
    assert torch.equal(layer.weight, there)
    layer.weight._is_hf_initialized = False
    model._init_weights(layer)
    assert not torch.equal(layer.weight, there)


# torch and koreanize-matplotlib


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_torch_says_whether_the_cpu_computes_in_bf16(name: str) -> None:
    """trainer/modeling/devices.py asks it."""
    assert getattr(torch.cpu, name)() in (True, False)


def test_koreanize_matplotlib_has_its_font_in_its_folder() -> None:
    """trainer/figures.py reads it without importing the package, which would change the settings of matplotlib."""
    package = find_spec("koreanize_matplotlib")

    assert package is not None
    assert package.origin is not None
    assert Path(package.origin).with_name("fonts").joinpath("NanumGothic.ttf").is_file()
