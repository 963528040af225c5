"""Parameters from configurations: published models to the last one, and whatever else a file may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import ConfigurationError
from gpuwatch.estimates.architecture import of_config, read
from gpuwatch.estimates.config_file import LARGEST_BYTES
from gpuwatch.estimates.flops import AttentionLayers
from tests.estimates.configurations import LLAMA, MODELS


@pytest.mark.parametrize("name", MODELS)
def test_published_sizes_to_the_last_parameter(name: str) -> None:
    """All parameters exactly; those for each token as rounded by who published them, within 3 %."""
    published = MODELS[name]

    found = of_config(published.config)

    assert published.parameters == found.parameters
    assert found.active == pytest.approx(published.active or published.parameters, rel=0.03)


def test_mixtral_by_hand() -> None:
    """32 layers × (attention + 2 of 8 experts + router + norms), embedding, head and last norm."""
    attention = 4096 * 4096 * 2 + 4096 * 1024 * 2
    expert = 3 * 4096 * 14336
    common = 2 * 32000 * 4096 + 4096 + 32 * (attention + 8 * 4096 + 2 * 4096)

    found = of_config(MODELS["Mixtral 8x7B"].config)

    assert (common + 32 * 8 * expert, common + 32 * 2 * expert) == (found.parameters, found.active)


def test_what_is_missing_is_said() -> None:
    """A default that decides a figure is never silent."""
    found = of_config(MODELS["GPT-2"].config)

    assert (
        "intermediate_size is missing: 3072, 4 × the width",
        "tie_word_embeddings is missing: true, as its family has it",
    ) == found.assumed


def test_unknown_decoder_is_counted_as_llama_and_says_so() -> None:
    """New models of the usual build come faster than releases."""
    found = of_config({**LLAMA, "model_type": "llama9", "rms_norm_eps": 1e-6})

    assert 6_738_415_616 == found.parameters
    assert "model_type 'llama9' is not known and counted as llama is" in found.assumed


@pytest.mark.parametrize(
    "more",
    [{}, {"rms_norm_eps": 1e-5, "mamba_d_state": 16}, {"rms_norm_eps": 1e-5, "is_encoder_decoder": True}],
)
def test_unknown_build_is_refused(more: dict[str, Any]) -> None:
    """No count is better than a wrong one; the message names what is known and the other way."""
    with pytest.raises(ConfigurationError, match="or give its parameters as a number"):
        of_config({**LLAMA, "model_type": "zamba", **more})


def test_text_part_of_a_model_that_sees() -> None:
    """Its text_config alone is counted, and that is said."""
    found = of_config({"model_type": "llava", "vision_config": {}, "text_config": LLAMA})

    assert 6_738_415_616 == found.parameters
    assert "text_config alone is counted, and not what sees or hears" in found.assumed


def test_window_of_attention() -> None:
    """All layers, every other, as listed, or none where it is switched off."""
    window = {**LLAMA, "sliding_window": 1024}
    kinds = ["sliding_attention"] * 24 + ["full_attention"] * 8
    near, far = AttentionLayers(24, 4096.0, 1024), AttentionLayers(8, 4096.0)

    assert (AttentionLayers(32, 4096.0, 1024),) == of_config(window).attention
    assert (near, far) == of_config({**window, "layer_types": kinds}).attention
    assert (AttentionLayers(32, 4096.0),) == of_config({**window, "use_sliding_window": False}).attention
    assert [16, 16] == [each.layers for each in of_config({**window, "model_type": "gemma2"}).attention]
    assert [27, 5] == [each.layers for each in of_config({**window, "model_type": "gemma3_text"}).attention]
    assert [24, 8] == [each.layers for each in of_config({**window, "sliding_window_pattern": 4}).attention]


def test_embeddings_narrower_than_the_layers() -> None:
    """OPT 350M looks words up in 512 of 1024 dimensions, with a matrix in and one out: 331 million."""
    shape = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "word_embed_proj_dim": 512}
    config = {**MODELS["OPT 125M"].config, **shape, "ffn_dim": 4096}

    assert 331.2e6 == pytest.approx(of_config(config).parameters, rel=1e-3)


def test_latent_attention_has_two_widths() -> None:
    """DeepSeek V3: scores over 128 × 192, values over 128 × 128; their mean counts."""
    found = of_config(MODELS["DeepSeek V3"].config)

    assert (AttentionLayers(61, 128 * (192 + 128) / 2),) == found.attention


def test_layers_with_experts_every_other_one() -> None:
    """By step, but for those that are listed as dense."""
    config = MODELS["Qwen1.5 MoE"].config
    expert = 3 * 2048 * 1408

    every = of_config({**config, "decoder_sparse_step": 2})
    fewer = of_config({**config, "decoder_sparse_step": 2, "mlp_only_layers": [1, 2]})

    dense, sparse = 3 * 2048 * 5632, 60 * expert + 3 * 2048 * 5632 + 2048 + 2048 * 60
    assert 12 * (sparse - dense) == MODELS["Qwen1.5 MoE"].parameters - every.parameters
    assert sparse - dense == every.parameters - fewer.parameters


def test_mistakes_are_told_at_once() -> None:
    """Each with the key and what is possible."""
    config = {
        "model_type": "llama", "hidden_size": "4096", "num_hidden_layers": -1, "num_attention_heads": True,
        "num_local_experts": 4, "num_experts_per_tok": 8, "intermediate_size": 10**4000,
    }  # fmt: skip

    with pytest.raises(ConfigurationError) as caught:
        of_config(config, "x/config.json")

    told = "\n".join(caught.value.mistakes)
    expected = [
        "x/config.json: hidden_size: '4096'", "num_hidden_layers: -1", "num_attention_heads: True",
        "vocab_size: is missing", "8 is more than the 4 experts", "intermediate_size: a huge number",
    ]  # fmt: skip
    assert [] == [part for part in expected if part not in told]


def test_file_is_read(tmp_path: Path) -> None:
    """As it lies beside a model."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))

    assert 6_738_415_616 == read(path).parameters
    assert 4096 == read(path).longest


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xfe", b"[]", b"3", b"null", b"{", b'{"hidden_size": NaN}', b'{"hidden_size": Infinity}',
        b'{"hidden_size": 1e999}', b"[" * 200_000, b'{"a":' * 100_000, b'{"hidden_size": ' + b"9" * 5000 + b"}",
        b" " * (LARGEST_BYTES + 1), b'{"model_type": ["llama"]}', b'{"text_config": {"text_config": {}}}',
    ],
    ids=lambda data: repr(data[:30]),
)  # fmt: skip
def test_hostile_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """With an error of ours, in an instant."""
    path = tmp_path / "config.json"
    path.write_bytes(data)

    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert all(len(line) < 1000 for line in caught.value.mistakes)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, a device, nothing at all, a name that no file can have."""
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "none", Path("a\0b")):
        with pytest.raises(ConfigurationError):
            read(path)


keys = sorted({key for each in MODELS.values() for key in each.config} | {"sliding_window", "layer_types"})
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 10**12), st.floats(), st.text(max_size=5),
    st.lists(st.one_of(st.integers(-3, 99), st.text(max_size=3), st.lists(st.none(), max_size=1)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(st.sampled_from(sorted(MODELS)), st.dictionaries(st.sampled_from(keys), values, max_size=4))
def test_any_value_is_counted_or_refused(name: str, changed: dict[str, Any]) -> None:
    """No other exception, and never fewer parameters in all than for each token."""
    try:
        found = of_config({**MODELS[name].config, **changed})
    except ConfigurationError:
        return
    assert 0 < found.active <= found.parameters
    assert 0 <= found.embedding <= found.parameters
    assert all(each.layers > 0 and each.width > 0 for each in found.attention)
