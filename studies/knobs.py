"""Every training knob in one table: its name, unit, default, bounds and meaning.

The table is the class `Hyperparameters`. A trial trains with an instance of it.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

EntityMarking = Literal["none", "concat", "typed_markers"]
Loss = Literal["cross_entropy", "focal", "kl_divergence"]
MARKED: tuple[EntityMarking, ...] = ("typed_markers",)  # the markings with a token before each entity
Pooling = Literal["first", "mean", "entities"]
Value = bool | int | float | str
# The knobs of version 0.1.0: stored identities and hashes hold them all. The list is closed: a knob that came later is
# in what is stored only with another value than its default, or all that was stored before would be refused.
KNOBS_OF_0_1_0 = (
    *("optimizer", "lr", "momentum", "weight_decay", "max_grad_norm", "batch_size", "epochs"),
    *("first_cycle_ratio", "cycle_mult", "gamma", "min_lr", "warmup_ratio", "whole_cycles"),
    *("loss", "focal_gamma", "label_smoothing", "dropout"),
    *("entity_marking", "evaluations", "precision", "gradient_checkpointing"),
)


def _knob(default: Value, meaning: str, unit: str = "", searchable: bool = True, **limits: Any) -> Any:
    """A field of the table; `limits` are pydantic's: `ge` and `le` are included, `lt` is not."""
    extra: dict[str, Any] = {"unit": unit, "searchable": searchable}
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


_PROBABILITY: dict[str, Any] = {"unit": "probability", "ge": 0.0, "lt": 1.0}


class Hyperparameters(BaseModel):
    """One value for every knob: what a fold is trained with. Bounds are inclusive unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # The optimiser
    optimizer: Literal["adamw", "sgd"] = _knob("adamw", "the optimiser; sgd is the original partner of warm restarts")
    lr: float = _knob(5e-5, "peak learning rate of the first cycle", "per step", ge=1e-8, le=1.0)
    momentum: float = _knob(0.9, "momentum of sgd", ge=0.0, lt=1.0)
    weight_decay: float = _knob(0.01, "decay of weights (not of biases and norms)", "per lr", ge=0.0, le=1.0)
    max_grad_norm: float = _knob(1.0, "gradients are scaled down to this L2 norm; 0: never", ge=0.0, le=1e6)
    batch_size: int = _knob(32, "examples of one optimiser step", "rows", ge=1, le=4096)
    epochs: int = _knob(20, "passes over the training part", "epochs", ge=1, le=1000)

    # The schedule: docs/design.md, section 4
    first_cycle_ratio: float = _knob(
        1.0, "first cycle over the whole fold; 1: no restart", "of a fold", ge=1e-4, le=1.0
    )
    cycle_mult: float = _knob(2.0, "each cycle's length over the one before", ge=1.0, le=10.0)
    gamma: float = _knob(1.0, "each cycle's peak over the one before", ge=0.0, le=1.0)
    min_lr: float = _knob(0.0, "learning rate at the end of each cycle", "per step", ge=0.0, le=1.0)
    warmup_ratio: float = _knob(0.0, "linear rise at the start of each cycle", "of a cycle", ge=0.0, lt=1.0)
    whole_cycles: bool = _knob(True, "end at the floor: fit the last cycle to what remains of the fold")

    # Regularisation
    loss: Loss = _knob("cross_entropy", "the training loss; kl_divergence has the gradients of cross_entropy")
    loss_mix: Literal["none", Loss] = _knob("none", "a second loss that is added to the first")
    loss_mix_share: float = _knob(0.5, "weight of the second loss; the first has the rest", ge=0.0, le=1.0)
    focal_gamma: float = _knob(2.0, "focusing exponent of the focal loss", ge=0.0, le=10.0)
    label_smoothing: float = _knob(0.0, "probability mass spread over all labels", ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced", "effective"] = _knob(
        "none", "weight a row by its class: inverse to its rows, or to their effective number"
    )
    class_weight_beta: float = _knob(0.999, "beta of the effective number; towards 1: balanced", ge=0.0, lt=1.0)
    dropout: float = _knob(0.1, "dropout of hidden, attention and classifier layers", ge=0.0, lt=1.0)
    dropout_samples: int = _knob(1, "dropout masks of the classifier in a step; 1: off", "masks", ge=1, le=64)
    rdrop_alpha: float = _knob(0.0, "R-Drop: weight of the divergence of two passes; 0: off", ge=0.0, le=100.0)
    fgm_epsilon: float = _knob(
        0.0, "FGM: L2 norm of the adversarial change to a row's embeddings; 0: off", ge=0.0, le=100.0
    )

    # The layers of the encoder, and its weights
    layer_lr_decay: float = _knob(1.0, "each layer's learning rate over the one above; 1: off", ge=0.01, le=1.0)
    reinit_layers: int = _knob(0, "top layers, and the pooler, that are drawn anew", "layers", ge=0, le=100)
    freeze: int = _knob(0, "not trained: 1 the embeddings, 1 + n also the lowest n layers; 0: off", ge=0, le=100)
    ema_decay: float = _knob(0.0, "decay of a moving average of the weights, also judged; 0: off", ge=0.0, lt=1.0)

    # The input
    entity_marking: EntityMarking = _knob("concat", "how the model is told which two entities are meant")
    pooling: Pooling = _knob("first", "what the classifier reads; first: what the model's own one does")

    # The input of the training part, changed anew in each epoch
    swap_entities: float = _knob(0.0, "subject and object exchanged, where the label has an inverse", **_PROBABILITY)
    replace_entities: float = _knob(
        0.0, "an entity replaced by another one of its type in the training part", **_PROBABILITY
    )
    token_deletion: float = _knob(0.0, "a token dropped, never one of an entity or a marker", **_PROBABILITY)
    token_masking: float = _knob(0.0, "a token masked, never one of an entity or a marker", **_PROBABILITY)

    # How it is computed: the same for every trial of a study
    evaluations: int = _knob(8, "points at which a fold is evaluated and judged", ge=1, le=64, searchable=False)
    precision: Literal["auto", "bf16", "fp32"] = _knob(
        "auto", "auto: bf16 autocast where the device computes in it", searchable=False
    )
    gradient_checkpointing: bool = _knob(False, "trade a third more time for less memory", searchable=False)


DEFAULTS = Hyperparameters()


def bounds(knob: str) -> tuple[float, float]:
    """The lowest and the highest value of a numeric knob; (-inf, inf) where it has none."""
    low, high = -math.inf, math.inf
    for constraint in Hyperparameters.model_fields[knob].metadata:
        low = getattr(constraint, "ge", low)
        high = getattr(constraint, "le", getattr(constraint, "lt", high))
    return low, high


def is_searchable(knob: str) -> bool:
    extra = Hyperparameters.model_fields[knob].json_schema_extra
    return isinstance(extra, dict) and bool(extra["searchable"])


def is_numeric(knob: str) -> bool:
    return _field(knob).annotation in (int, float)


def is_integer(knob: str) -> bool:
    return _field(knob).annotation is int


def _field(knob: str) -> FieldInfo:
    return Hyperparameters.model_fields[knob]
