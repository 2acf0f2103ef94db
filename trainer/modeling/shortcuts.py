"""The same model, computed with less work.

A family's own classifier reads the first token alone, so the last layer computes nothing else. Some of torch's CPU
kernels are slow, so there are others here. Outputs differ by rounding alone. Dropout has the same distribution and is
drawn from torch's own generator, where checkpoints and gradient checkpointing expect it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.electra.modeling_electra import ElectraLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from foldrace.trainer.modeling.pooling import PooledClassifier

# Encoders of the same build. Their own classifiers read the first token alone.
_FIRST_TOKEN_LAYERS = (ElectraLayer, BertLayer, RobertaLayer, XLMRobertaLayer)

_CPU_ATTENTION = "foldrace_cpu"
_LEVELS = 2**16  # values of the random number that decides whether an element is kept


def apply_shortcuts(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Change `model` in place to use every shortcut that fits it and the device, and return it.

    Its weights keep their names.
    """
    layers = _layers(model)
    if layers is not None and isinstance(layers[-1], _FIRST_TOKEN_LAYERS):
        if not isinstance(model, PooledClassifier):
            layers[-1] = FirstTokenLayer(layers[-1])
        model.base_model.register_forward_pre_hook(_widen_mask, with_kwargs=True)
        if device.type == "cpu":
            model.set_attn_implementation(_CPU_ATTENTION)
    if device.type == "cpu":
        for module in list(model.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Dropout:
                    setattr(module, name, CpuDropout(child.p))
    return model


def is_capturable(model: PreTrainedModel) -> bool:
    """Whether all batches of a shape launch the same work on a CUDA device, and none waits for it.

    That is known of the encoders whose mask is widened here, with torch's attention. Others may leave out layers at
    random, or look at a mask; a layer that is computed twice looks at the generator.
    """
    layers = _layers(model)
    if layers is None or not isinstance(layers[-1], (*_FIRST_TOKEN_LAYERS, FirstTokenLayer)):
        return False
    computes_twice = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return model.config._attn_implementation == "sdpa" and not computes_twice


def _layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The layers of an encoder that is built as BERT is; None of any other model."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    return layers if isinstance(layers, nn.ModuleList) else None


class FirstTokenLayer(GradientCheckpointingLayer):
    """The last layer of an encoder, for the first token alone: (rows, tokens, width) -> (rows, 1, width).

    It saves most of the work of one layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__.update(layer.__dict__)  # keeps the names of its parts, and its gradient checkpointing

    def forward(self, hidden: Tensor, mask: Tensor | None = None, *_: object, **__: object) -> Tensor:
        attention = self.attention.self
        first = hidden[:, :1]
        query, key, value = (
            part.view(len(hidden), -1, attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)
            for part in (attention.query(first), attention.key(hidden), attention.value(hidden))
        )
        dropout = attention.dropout.p if self.training else 0.0
        attend = cpu_attention if hidden.device.type == "cpu" else F.scaled_dot_product_attention
        mixed = attend(query, key, value, mask, dropout).transpose(1, 2).reshape(first.shape)
        mixed = self.attention.output(mixed, first)
        output: Tensor = self.output(self.intermediate(mixed), mixed)
        return output


class CpuDropout(nn.Dropout):
    """Dropout that draws 16 bits for an element. torch's own CPU kernel draws a double for each, one by one."""

    def forward(self, x: Tensor) -> Tensor:
        return cpu_dropout(x, self.p) if self.training else x


def cpu_dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element of `x` with probability `p`, and scale the others up so that the mean stays.

    The probability is a multiple of 1 / 65536, and for p < 1 some elements are always kept: it is within 1 / 65536 of
    `p`. For p = 1 all are zero.

    Raises:
        ValueError: `p` is not a probability. torch raises the same.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 1:
        return x * 0.0
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    if dropped == 0:
        return x
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = words.view(torch.int16)[: x.numel()].view(x.shape)
    mask = torch.ge(numbers, dropped - _LEVELS // 2, out=torch.empty(x.shape, dtype=x.dtype))
    return x * mask.mul_(_LEVELS / (_LEVELS - dropped))


def cpu_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot product attention. torch's own takes a slow path on a CPU when there is dropout.

    The softmax is computed in fp32, as in torch.

    Args:
        query, key, value: (rows, heads, tokens, width of a head).
        mask: broadcasts to (rows, heads, tokens, tokens); False for the tokens that are not attended to.
        dropout: the probability with which a weight of the attention is dropped.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores += torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return cpu_dropout(weights, dropout) @ value


def _attention_interface(  # its parameters are those of transformers.AttentionInterface
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    return cpu_attention(query, key, value, attention_mask, dropout).transpose(1, 2).contiguous(), None


def _widen_mask(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[object, dict[str, object]]:
    """Give the encoder its mask as (rows, 1, 1, tokens).

    From a mask of (rows, tokens), transformers would make a copy for every token, and wait for the device to do it.
    """
    mask = kwargs["attention_mask"]
    if isinstance(mask, Tensor):
        kwargs["attention_mask"] = mask.bool()[:, None, None]
    return args, kwargs


AttentionInterface.register(_CPU_ATTENTION, _attention_interface)
AttentionMaskInterface.register(_CPU_ATTENTION, sdpa_mask)
