"""The layers of any encoder: which are frozen, drawn anew, or trained at a lower rate.

They are found as the one list of modules that is as long as the configuration says.
"""

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError


def change_layers(model: PreTrainedModel, knobs: Hyperparameters, seed: int) -> None:
    """Draw the top layers anew, and freeze the lowest, as the knobs say. Raises ModelError where there are too few."""
    refuse_missing_layers(model, knobs)
    if knobs.reinit_layers:
        _draw_anew(model, knobs.reinit_layers, seed)
    if knobs.freeze:
        _freeze(model, knobs.freeze)


def refuse_missing_layers(model: PreTrainedModel, knobs: Hyperparameters) -> None:
    """Raise ModelError where the model lacks layers that the knobs freeze, draw anew or train at a lower rate."""
    asked = {"layer_lr_decay": knobs.layer_lr_decay != 1, "reinit_layers": knobs.reinit_layers, "freeze": knobs.freeze}
    changed = [f"training.{knob}" for knob, is_on in asked.items() if is_on]
    if not changed:
        return
    name, found = model.config.model_type, find_layers(model)
    if found is None:
        raise ModelError(f"{', '.join(changed)}: a model of type {name} has no single list of layers; leave it out")
    count = len(found)
    if knobs.reinit_layers > count:
        raise ModelError(f"training.reinit_layers: {knobs.reinit_layers}, the model has {count} layers; ask for fewer")
    if knobs.freeze > count + 1:
        most = f"{count + 1} freezes the embeddings and all {count} layers"
        raise ModelError(f"training.freeze: {knobs.freeze} is too much; {most} of the model")
    if knobs.freeze and knobs.freeze - 1 + knobs.reinit_layers > count:
        both = f"freeze = {knobs.freeze} and reinit_layers = {knobs.reinit_layers}"
        raise ModelError(f"training.freeze: {both} would freeze new weights, of {count} layers; ask for fewer")


def find_layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The encoder's layers, from the lowest; None where it has no such list, or several.

    A family that shares the weights of its layers, as ALBERT, has none.
    """
    count = getattr(model.config, "num_hidden_layers", None)
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count}
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return lists[outer[0]] if len(outer) == 1 else None


def parameter_depths(model: PreTrainedModel) -> Iterator[tuple[int, nn.Parameter]]:
    """The depth of each parameter, and the parameter: 0 in the embeddings, i in the i-th layer, 1 more in all above.

    The embeddings are what the encoder has before its layers, and every further nn.Embedding of it. Above are a last
    norm, a pooler and the classifier. The model has passed `refuse_missing_layers`.
    """
    encoder, layers = model.base_model, _layers(model)
    in_layers = {p: i for i, layer in enumerate(layers, 1) for p in layer.parameters()}
    embeddings = {p for m in encoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()} - set(in_layers)
    others = set(encoder.parameters()) - embeddings - set(in_layers)
    top, seen_layers = len(layers) + 1, False
    for parameter in model.parameters():
        seen_layers |= parameter in in_layers
        is_below = parameter in embeddings or (parameter in others and not seen_layers)
        yield 0 if is_below else in_layers.get(parameter, top), parameter


def _draw_anew(model: PreTrainedModel, count: int, seed: int) -> None:
    """Draw the weights of the top `count` layers, and of a pooler, as for a new model. They depend on `seed` alone.

    Zhang et al. 2021, Revisiting Few-sample BERT Fine-tuning: the top layers are made for the task of the pretraining.
    """
    pooler = getattr(model.base_model, "pooler", None)
    torch.manual_seed(seed)
    for part in [*_layers(model)[-count:], *([pooler] if isinstance(pooler, nn.Module) else [])]:
        for parameter in part.parameters():
            parameter._is_hf_initialized = False  # else transformers leaves what it has loaded as it is
        for module in part.modules():
            model._init_weights(module)


def _freeze(model: PreTrainedModel, depth: int) -> None:
    """Keep every parameter below `depth` as it is.

    Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, thaw the layers one by one;
    Lee et al. 2019, What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning, keep the lowest frozen.
    """
    for below, parameter in parameter_depths(model):
        if below < depth:
            parameter.requires_grad_(False)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    """`find_layers`, of a model that has them."""
    layers = find_layers(model)
    if layers is None:
        raise ModelError(f"a model of type {model.config.model_type} has no single list of layers")
    return layers
