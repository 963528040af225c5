"""Configurations of published models, with the sizes that are published of them."""

from __future__ import annotations

from typing import Any, NamedTuple

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
}  # fmt: skip
"""Llama 2 7B."""
_SMALL: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_BERT = {**_SMALL, "intermediate_size": 3072, "max_position_embeddings": 512}
_DEEPSEEK: dict[str, Any] = {
    "moe_layer_freq": 1, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "tie_word_embeddings": False,
}  # fmt: skip


class Published(NamedTuple):
    """A configuration, and how many parameters it has in all and for each token (None: all)."""

    config: dict[str, Any]
    parameters: int
    active: float | None = None


MODELS = {
    "Llama 2 7B": Published(LLAMA, 6_738_415_616),
    "Llama 3 8B": Published(
        {**LLAMA, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256}, 8_030_261_248
    ),
    "Mistral 7B": Published(
        {**LLAMA, "model_type": "mistral", "num_key_value_heads": 8, "intermediate_size": 14336}, 7_241_732_096
    ),
    "Mixtral 8x7B": Published(
        {
            **LLAMA, "model_type": "mixtral", "num_key_value_heads": 8, "intermediate_size": 14336,
            "num_local_experts": 8, "num_experts_per_tok": 2,
        },
        46_702_792_704, 12.9e9,
    ),
    "Qwen2 7B": Published(
        {
            "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
            "tie_word_embeddings": False, "use_sliding_window": False, "sliding_window": 131072,
        },
        7_615_616_512,
    ),
    "Qwen1.5 MoE": Published(
        {
            "model_type": "qwen2_moe", "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16,
            "num_key_value_heads": 16, "intermediate_size": 5632, "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632, "num_experts": 60, "num_experts_per_tok": 4,
            "decoder_sparse_step": 1, "vocab_size": 151936, "tie_word_embeddings": False,
        },
        14_315_784_192, 2.7e9,
    ),
    "Qwen3 30B-A3B": Published(
        {
            "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
            "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768,
            "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
            "vocab_size": 151936, "tie_word_embeddings": False,
        },
        30_532_122_624, 3.3e9,
    ),
    "DeepSeek V3": Published(
        {
            **_DEEPSEEK, "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61,
            "num_attention_heads": 128, "num_key_value_heads": 128, "intermediate_size": 18432,
            "moe_intermediate_size": 2048, "vocab_size": 129280, "n_routed_experts": 256, "n_shared_experts": 1,
            "num_experts_per_tok": 8, "first_k_dense_replace": 3, "q_lora_rank": 1536,
        },
        671_026_404_352, 37e9,
    ),
    "DeepSeek V2 Lite": Published(
        {
            **_DEEPSEEK, "model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27,
            "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 10944,
            "moe_intermediate_size": 1408, "vocab_size": 102400, "n_routed_experts": 64, "n_shared_experts": 2,
            "num_experts_per_tok": 6, "first_k_dense_replace": 1, "q_lora_rank": None,
        },
        15_706_484_224, 2.66e9,
    ),
    "Gemma 2B": Published(
        {
            "model_type": "gemma", "hidden_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 8,
            "num_key_value_heads": 1, "head_dim": 256, "intermediate_size": 16384, "vocab_size": 256000,
        },
        2_506_172_416,
    ),
    "GPT-2": Published(
        {
            "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257,
            "n_positions": 1024,
        },
        124_439_808,
    ),
    "OPT 125M": Published(
        {**_SMALL, "model_type": "opt", "ffn_dim": 3072, "vocab_size": 50272, "max_position_embeddings": 2048},
        125_239_296,
    ),
    "GPT-NeoX 20B": Published(
        {
            "model_type": "gpt_neox", "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
            "intermediate_size": 24576, "vocab_size": 50432, "tie_word_embeddings": False,
        },
        20_554_567_680,
    ),
    "Falcon 7B": Published(
        {
            "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
            "multi_query": True, "new_decoder_architecture": False, "vocab_size": 65024,
        },
        6_921_720_704,
    ),
    "BLOOM 560M": Published(
        {"model_type": "bloom", "hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250880},
        559_214_592,
    ),
    "Phi-2": Published(
        {
            "model_type": "phi", "hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32,
            "intermediate_size": 10240, "vocab_size": 51200,
        },
        2_779_683_840,
    ),
    "StarCoder2 3B": Published(
        {
            "model_type": "starcoder2", "hidden_size": 3072, "num_hidden_layers": 30, "num_attention_heads": 24,
            "num_key_value_heads": 2, "intermediate_size": 12288, "vocab_size": 49152,
        },
        3_030_371_328,
    ),
    "BERT base": Published(
        {**_BERT, "model_type": "bert", "vocab_size": 30522, "type_vocab_size": 2}, 109_482_240
    ),
    "RoBERTa base": Published(
        {
            **_BERT, "model_type": "roberta", "vocab_size": 50265, "type_vocab_size": 1,
            "max_position_embeddings": 514,
        },
        124_645_632,
    ),
    "DistilBERT": Published(
        {
            "model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072,
            "vocab_size": 30522, "max_position_embeddings": 512,
        },
        66_362_880,
    ),
    "T5 small": Published(
        {
            "model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
            "vocab_size": 32128,
        },
        60_506_624,
    ),
    "T5 base": Published(
        {
            "model_type": "t5", "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
            "vocab_size": 32128,
        },
        222_903_552,
    ),
}  # fmt: skip
