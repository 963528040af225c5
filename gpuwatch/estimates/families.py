"""What the configuration of a transformer leaves unsaid, by its `model_type`: facts of the published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """How the layers of a family are built where its configuration does not say.

    `gated`: three matrices in the feed-forward part instead of two. `tied`: the output head is the embedding.
    `norm` is the vectors of one normalization (1: scale, 2: scale and shift), `norms` how many a layer has.
    """

    gated: bool = True
    tied: bool = False
    norm: int = 1
    norms: int = 2
    final_norm: bool = True
    query_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norm: bool = False
    learned_positions: int | None = None
    embedding_norm: bool = False
    head_bias: bool = False
    token_types: int = 0
    pooler: bool = False
    kind: Literal["decoder", "encoder", "both"] = "decoder"


LLAMA = Family()
"""Gated, untied, without biases: what a decoder with RMS normalization is taken for."""
_BIASED = Family(gated=False, norm=2, query_bias=True, output_bias=True, mlp_bias=True)
_GPT2 = replace(_BIASED, tied=True, learned_positions=0)
_BERT = replace(
    _GPT2, kind="encoder", final_norm=False, embedding_norm=True, token_types=2, pooler=True, tied=True
)
_T5 = Family(gated=False, tied=True, norms=2, kind="both")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        **dict.fromkeys(
            ("llama", "mistral", "mixtral", "phi3", "granite", "olmo2", "deepseek_v2", "deepseek_v3", "kimi_k2"),
            LLAMA,
        ),
        "olmo": replace(LLAMA, norm=0),
        "olmoe": replace(LLAMA, head_norm=True),
        "qwen2": replace(LLAMA, query_bias=True),
        "qwen2_moe": replace(LLAMA, query_bias=True),
        "qwen3": replace(LLAMA, head_norm=True),
        "qwen3_moe": replace(LLAMA, head_norm=True),
        "gpt_oss": replace(LLAMA, query_bias=True, output_bias=True),
        "gemma": replace(LLAMA, tied=True),
        "gemma2": replace(LLAMA, tied=True, norms=4),
        "gemma3_text": replace(LLAMA, tied=True, norms=4, head_norm=True),
        "cohere": replace(LLAMA, tied=True, norms=1),
        "gpt2": _GPT2,
        "gpt_bigcode": _GPT2,
        "opt": replace(_GPT2, learned_positions=2),
        "starcoder2": replace(_BIASED, tied=True),
        "gpt_neox": _BIASED,
        "phi": replace(_BIASED, norms=1, head_bias=True),
        "bloom": replace(_BIASED, tied=True, embedding_norm=True),
        "falcon": Family(gated=False, tied=True, norm=2, norms=1),
        "mpt": Family(gated=False, tied=True),
        "bert": _BERT,
        "roberta": replace(_BERT, token_types=1),
        "distilbert": replace(_BERT, token_types=0, pooler=False),
        "t5": _T5,
        "mt5": replace(_T5, gated=True, tied=False),
    }
)
"""The families whose counts are known; sizes checked against published ones in tests/estimates."""

FOREIGN = frozenset(
    [
        "interleave_moe_layer_step", "state_size", "ssm_cfg", "mamba_d_state", "num_hidden_groups",
        "attn_layer_period", "block_configs", "patch_size", "image_size", "conv_dim", "linear_num_value_heads",
        "rwkv_config",
    ]
)  # fmt: skip
"""Keys of layers that are not counted here: a configuration of an unknown type that has one is refused."""
