"""How many parameters a transformer has, in all and for each token, counted from the shapes in its config.json.

Pure but for `read`. The keys are those of Hugging Face's transformers; what a configuration leaves out is taken
from its family (families.py) and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuwatch.errors import ConfigurationError
from gpuwatch.estimates import config_file
from gpuwatch.estimates.config_file import Reader
from gpuwatch.estimates.families import FAMILIES, FOREIGN, LLAMA, Family
from gpuwatch.estimates.flops import AttentionLayers


@dataclass(frozen=True, slots=True)
class Architecture:
    """A transformer: `parameters` in all, `active` of them for each token, `embedding` of them only looked up.

    `longest` is the longest sequence it is made for; `assumed` says what its configuration left out.
    """

    parameters: int
    active: int
    embedding: int
    attention: tuple[AttentionLayers, ...]
    longest: int | None
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all parts of a transformer share."""

    width: int
    layers: int
    heads: int
    key_heads: int
    head: int
    inner: int
    vocabulary: int


def read(path: Path) -> Architecture:
    """The transformer that a config.json describes; `ConfigurationError` has every mistake."""
    return of_config(config_file.read(path), str(path))


def of_config(document: Mapping[str, Any], name: str = "config.json") -> Architecture:
    """The transformer that a configuration describes; `name` is for messages."""
    inner = document.get("text_config")
    if isinstance(inner, dict):
        reader = Reader(inner)
        reader.assumed.append("text_config alone is counted, and not what sees or hears")
    else:
        reader = Reader(document)
    family = _family(reader)
    shape = _shape(reader)
    found = _both(reader, family, shape) if family.kind == "both" else _one(reader, family, shape)
    if reader.mistakes:
        raise ConfigurationError([f"{name}: {each}" for each in dict.fromkeys(reader.mistakes)])
    total, active, embedding, attention = found
    longest = reader.optional("max_position_embeddings", "n_positions", "n_ctx")
    return Architecture(total, active, embedding, attention, longest, tuple(dict.fromkeys(reader.assumed)))


def _family(reader: Reader) -> Family:
    kind = reader.text("model_type")
    if kind in FAMILIES:
        return FAMILIES[kind]
    called = f"model_type {kind[:40]!r}" if kind else "a model without model_type"
    foreign = sorted(FOREIGN & reader.document.keys())
    if reader.document.get("is_encoder_decoder") is True:
        foreign.append("is_encoder_decoder")
    if foreign or "rms_norm_eps" not in reader.document:
        because = f", which has {foreign[0]}" if foreign else ""
        there = f"there is: {', '.join(sorted(FAMILIES))}; or give its parameters as a number"
        reader.mistakes.append(f"{called}{because} is not known; {there}")
    reader.assumed.append(f"{called} is not known and counted as llama is")
    return LLAMA


def _shape(reader: Reader) -> _Shape:
    width = reader.size("hidden_size", "n_embd", "n_embed", "d_model", "dim")
    layers = reader.size("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    heads = reader.size("num_attention_heads", "n_head", "num_heads", "n_heads")
    falcon = reader.text("model_type") in ("falcon", "gpt_bigcode")
    one = falcon and reader.flag("multi_query", default=True)
    wide = reader.flag("new_decoder_architecture", default=False)
    key_heads = reader.size(
        "num_key_value_heads", *(("num_kv_heads",) if wide else ()), default=1 if one and not wide else heads
    )
    if heads % key_heads:
        reader.mistakes.append(f"num_key_value_heads: {key_heads} does not divide the {heads} heads")
    if reader.document.get("head_dim") is None and reader.document.get("d_kv") is None and width % heads:
        reader.mistakes.append(f"num_attention_heads: {heads} does not divide the width of {width}")
    head = reader.size("head_dim", "d_kv", default=max(width // heads, 1))
    inner = reader.size(
        "intermediate_size", "n_inner", "d_ff", "ffn_dim", "ffn_hidden_size", "hidden_dim",
        default=4 * width, why="4 × the width",
    )  # fmt: skip
    return _Shape(width, layers, heads, key_heads, head, inner, reader.size("vocab_size"))


def _one(reader: Reader, family: Family, shape: _Shape) -> tuple[int, int, int, tuple[AttentionLayers, ...]]:
    """Decoder or encoder: parameters, active ones, those looked up, and how it attends."""
    attention, width = _attention(reader, family, shape)
    extra = family.norms * family.norm * shape.width
    dense = _feed_forward(reader, family, shape, shape.inner)
    experts, used, sparse = _experts(reader, family, shape)
    plain = shape.layers - sparse
    total = shape.layers * (attention + extra) + plain * dense + sparse * experts
    active = shape.layers * (attention + extra) + plain * dense + sparse * used
    embedding, looked_up = _embeddings(reader, family, shape)
    return total + embedding, active + embedding, looked_up, _windows(reader, family, shape, width)


def _attention(reader: Reader, family: Family, shape: _Shape) -> tuple[int, float]:
    """Parameters of one layer's attention, and heads × dimension of a head for its scores."""
    latent = reader.optional("kv_lora_rank")
    if latent is not None:
        return _latent_attention(reader, shape, latent)
    queries, keys = shape.heads * shape.head, shape.key_heads * shape.head
    biased = reader.flag("attention_bias", default=family.query_bias)
    found = shape.width * (queries + 2 * keys) + queries * shape.width
    found += (queries + 2 * keys) * biased
    found += shape.width * (family.output_bias or (biased and not family.query_bias))
    return found + 2 * shape.head * family.head_norm, float(queries)


def _latent_attention(reader: Reader, shape: _Shape, latent: int) -> tuple[int, float]:
    """Keys and values that are stored compressed (DeepSeek's multi-head latent attention)."""
    plain, rotary = reader.size("qk_nope_head_dim"), reader.size("qk_rope_head_dim")
    value, compressed = reader.size("v_head_dim"), reader.optional("q_lora_rank")
    queries = shape.heads * (plain + rotary)
    if compressed is None:
        found = shape.width * queries
    else:
        found = shape.width * compressed + compressed + compressed * queries
    found += shape.width * (latent + rotary) + latent + latent * shape.heads * (plain + value)
    found += shape.heads * value * shape.width
    return found, (queries + shape.heads * value) / 2


def _feed_forward(reader: Reader, family: Family, shape: _Shape, inner: int) -> int:
    matrices = 3 if family.gated else 2
    biased = reader.flag("mlp_bias", default=family.mlp_bias)
    return matrices * shape.width * inner + biased * ((matrices - 1) * inner + shape.width)


def _experts(reader: Reader, family: Family, shape: _Shape) -> tuple[int, int, int]:
    """Feed-forward parameters of a layer with experts, those of them for one token, and how many such layers."""
    names = ("num_local_experts", "n_routed_experts", "num_experts")
    experts = reader.optional(*names)
    if experts is None or experts == 1:
        return 0, 0, 0
    chosen = reader.size("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_top_k")
    if chosen > experts:
        reader.mistakes.append(f"num_experts_per_tok: {chosen} is more than the {experts} experts there are")
    inner = reader.size("moe_intermediate_size", default=shape.inner)
    one = _feed_forward(reader, family, shape, inner)
    always = shape.width * experts
    shared = reader.optional("shared_expert_intermediate_size")
    if shared is not None:
        always += _feed_forward(reader, family, shape, shared) + shape.width
    count = reader.optional("n_shared_experts")
    if count is not None:
        always += _feed_forward(reader, family, shape, count * inner)
    return always + experts * one, always + chosen * one, _sparse_layers(reader, shape.layers)


def _sparse_layers(reader: Reader, layers: int) -> int:
    """How many layers have experts; some models have none in their first layers, or only in every n-th."""
    first = reader.size("first_k_dense_replace", default=0, least=0)
    every = reader.size("moe_layer_freq", "decoder_sparse_step", default=1)
    dense = {each for each in reader.list("mlp_only_layers") if isinstance(each, int) and 0 <= each < layers}
    if "decoder_sparse_step" in reader.document:
        return layers // every - sum((each + 1) % every == 0 for each in dense)
    first = min(first, layers)
    return (
        (layers - 1) // every - (first - 1) // every - sum(each >= first and each % every == 0 for each in dense)
    )


def _embeddings(reader: Reader, family: Family, shape: _Shape) -> tuple[int, int]:
    """Parameters of embeddings, output head and what else stands once; those that are only looked up."""
    decoder = family.kind == "decoder"
    tied = reader.flag("tie_word_embeddings", default=family.tied, why="as its family has it") or not decoder
    narrow = reader.size("word_embed_proj_dim", default=shape.width)
    table = shape.vocabulary * narrow
    positions = 0
    if family.learned_positions is not None:
        length = reader.size("max_position_embeddings", "n_positions", "n_ctx")
        positions = (length + family.learned_positions) * shape.width
    types = reader.size("type_vocab_size", default=family.token_types, least=0) if family.token_types else 0
    found = table * (1 if tied else 2) + positions + types * shape.width
    found += 2 * narrow * shape.width * (narrow != shape.width)
    found += family.norm * shape.width * (family.final_norm + family.embedding_norm)
    found += (shape.width * shape.width + shape.width) * family.pooler + shape.vocabulary * family.head_bias
    return found, (0 if tied and decoder else table) + positions + types * shape.width


def _windows(reader: Reader, family: Family, shape: _Shape, width: float) -> tuple[AttentionLayers, ...]:
    causal = family.kind == "decoder"
    window = reader.optional("sliding_window")
    if window is None or not reader.flag("use_sliding_window", default=True):
        return (AttentionLayers(shape.layers, width, None, causal),)
    sliding = shape.layers
    kinds = reader.list("layer_types")
    if kinds:
        sliding = min(kinds.count("sliding_attention"), shape.layers)
    elif reader.text("model_type") in ("gemma2", "gpt_oss"):
        sliding = shape.layers // 2
    elif reader.text("model_type") == "gemma3_text" or "sliding_window_pattern" in reader.document:
        sliding -= shape.layers // reader.size("sliding_window_pattern", default=6, why="every sixth sees all")
    return tuple(
        AttentionLayers(layers, width, reach, causal)
        for layers, reach in ((sliding, window), (shape.layers - sliding, None))
        if layers
    )


def _both(reader: Reader, family: Family, shape: _Shape) -> tuple[int, int, int, tuple[AttentionLayers, ...]]:
    """Encoder and decoder, each token counted through both."""
    below = reader.size("num_decoder_layers", default=shape.layers, why="as many as the encoder has")
    gated = reader.text("feed_forward_proj").startswith("gated")
    matrices = 3 if gated or (family.gated and not reader.text("feed_forward_proj")) else 2
    across = shape.heads * shape.head
    block = 4 * shape.width * across + shape.width
    last = matrices * shape.width * shape.inner + shape.width
    table = shape.vocabulary * shape.width
    tied = reader.flag("tie_word_embeddings", default=family.tied, why="as its family has it")
    buckets = 2 * reader.size("relative_attention_num_buckets", default=32) * shape.heads
    total = shape.layers * (block + last) + below * (2 * block + last) + 2 * shape.width + buckets
    total += table * (1 if tied else 2)
    reader.assumed.append("every token is counted through encoder and decoder: the most, where it passes one")
    attending = (
        AttentionLayers(shape.layers + below, float(across), None, False),
        AttentionLayers(below, float(across), None, True),
    )
    return total, total, 0 if tied else table, attending
