"""How many devices: real clusters' ways to say it, with the answers worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_tres
from gpuwatch.schedulers.slurm_tres import Count, Generic

TABLE = {"shard": 0.25, "mps": 0.01, "npu": 1.0, "mi250x": 0.5, "2g.35gb": 0.5, "shard:l40s": 0.125}
SEVENTH = 1 / 7

TRES = [
    # The generic entry counts, whatever types stand beside it.
    ("billing=1,cpu=1,gres/gpu=2,node=1", 2, "generic", ""),
    ("billing=1,cpu=1,gres/gpu:a100=2,gres/gpu=2,mem=320.5G", 2, "generic", ""),
    ("gres/gpu:rtx2080ti=4,gres/gpu=4", 4, "generic", ""),
    ("cpu=40,mem=180G,node=1,billing=40,gres/gpu=4,gres/gpu:v100=4", 4, "generic", ""),
    ("gres/gpu=1,gres/gpumem=0,gres/gpuutil=0", 1, "generic", ""),
    ("cpu=8,gres/gpu=1,gres/gpumem=20390M,gres/gpuutil=98,mem=32G", 1, "generic", ""),
    ("gres/gpu=3,gres/gpu:a100=2,gres/gpu:v100=1", 3, "generic", ""),
    ("cpu=512,mem=4000G,node=8,billing=512,gres/gpu:h100=64,gres/gpu=64,energy=12345", 64, "generic", ""),
    ("billing=5000,cpu=96,energy=184467,gres/gpu=8,mem=1.5T,node=1", 8, "generic", ""),
    ("cpu=1,gres/gpu=0,mem=4G,node=1", 0, "generic", ""),
    ("cpu=6,mem=46000M,node=1,billing=6,gres/gpu=1,gres/gpu:tesla_p100=1,gres/lscratch=20", 1, "generic", ""),
    ("cpu=32,gres/gpu:nvidia_a100-sxm4-80gb=4,gres/gpu=4,mem=0.50T,node=1", 4, "generic", ""),
    ("billing=128,cpu=128,gres/craynetwork=1,gres/gpu=4,mem=229992M,node=1", 4, "generic", ""),
    ("GRES/GPU=2,CPU=4", 2, "generic", ""),
    ("cpu=4,license/matlab=1,gres/gpu=1", 1, "generic", ""),
    ("billing=16,bb/datawarp=200G,cpu=16,gres/gpu=2,mem=64G,node=2", 2, "generic", ""),
    ("cpu=56,fs/disk=9787912,gres/gpu=6,mem=500G,node=1,pages=59,vmem=1741956K", 6, "generic", ""),
    ("gres/gpu=16384,node=2048", 16384, "generic", ""),
    ("cpu=8,energy=18446744073709551614,gres/gpu=1,node=1", 1, "generic", ""),
    # Without one, the types add up.
    ("cpu=4,gres/gpu:a100=2,mem=32G,node=1", 2, "typed", ""),
    ("gres/gpu:a100=2,gres/gpu:v100=1", 3, "typed", ""),
    ("gres/gpu:gtx1080ti=8", 8, "typed", ""),
    ("gres/gpu:1080=2", 2, "typed", ""),
    ("gres/gpu:nvidia_h100_80gb_hbm3=8,gres/gpumem=512G", 8, "typed", ""),
    # What contradicts itself says so.
    ("gres/gpu=3,gres/gpu:a100=2", 3, "generic", "gres/gpu=3, its types sum to 2"),
    ("gres/gpu=2,gres/gpu:a100=3", 2, "generic", "gres/gpu=2, its types sum to 3"),
    # Parts of a device, by profile name.
    ("gres/gpu:1g.5gb=1", SEVENTH, "table", ""),
    ("cpu=4,gres/gpu:1g.10gb=2,gres/gpu=2,mem=16G", 2 * SEVENTH, "table", ""),
    ("gres/gpu:a100_1g.5gb=7,gres/gpu=7", 1, "table", ""),
    ("gres/gpu:nvidia_a100_80gb_pcie_3g.40gb=1,gres/gpu=1", 3 * SEVENTH, "table", ""),
    ("gres/gpu:4g.20gb=1", 4 * SEVENTH, "table", ""),
    ("gres/gpu:7g.80gb=2,gres/gpu=2", 2, "table", ""),
    ("gres/gpu:1g.10gb+me=1", SEVENTH, "table", ""),
    ("gres/gpu:a30_1g.6gb=1", 0.25, "table", ""),
    ("gres/gpu:2g.12gb=2,gres/gpu=2", 1, "table", ""),
    ("gres/gpu=3,gres/gpu:a100=2,gres/gpu:1g.5gb=1", 2 + SEVENTH, "table", ""),
    ("gres/gpu=3,gres/gpu:1g.5gb=1", 2 + SEVENTH, "table", "gres/gpu=3, its types sum to 1"),
    ("gres/gpu:h200_2g.35gb=1", 0.5, "table", ""),
    # Parts of a device, by the site's table.
    ("cpu=2,gres/shard=4,mem=8G", 1, "table", ""),
    ("gres/shard:a100=3,gres/shard=3", 0.75, "table", ""),
    ("gres/shard:l40s=4,gres/shard=4", 0.5, "table", ""),
    ("gres/mps=50", 0.5, "table", ""),
    ("gres/mps:v100=200,gres/mps=200", 2, "table", ""),
    ("gres/gpu=1,gres/shard=2", 1.5, "table", ""),
    ("gres/gpu:mi250x=8,gres/gpu=8", 4, "table", ""),
    ("cpu=24,gres/npu=8", 8, "table", ""),
    # TPUs, by the name that Slurm's clusters in Google's cloud give them.
    ("billing=8,cpu=8,gres/tpu=4,mem=16G,node=1", 4, "generic", ""),
    ("cpu=8,gres/tpu:v5e=4,node=1", 4, "typed", ""),
    ("cpu=8,gres/tpu=4,gres/tpu:v5e=4,node=1", 4, "generic", ""),
    ("gres/tpu=4,gres/tpu:v6e=3", 4, "generic", "gres/tpu=4, its types sum to 3"),
    ("gres/gpu=2,gres/tpu=4", 6, "generic", ""),
    ("gres/gpu:h100=2,gres/tpu=4", 6, "generic", ""),
    ("gres/gpu:1g.10gb=7,gres/tpu:v5e=4", 5, "table", ""),
    ("gres/tpu=4,gres/shard=4", 5, "table", ""),
    ("cpu=8,gres/tpumem=4G", None, "", ""),
    # Nothing about devices.
    ("cpu=1,mem=64G,node=1", None, "", ""),
    ("cpu=4,gres/lscratch=100,mem=2G", None, "", ""),
    ("cpu=4,gres/gpumem=20G,gres/gpuutil=50", None, "", ""),
    ("", None, "", ""),
    ("(null)", None, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "devices", "rule", "doubt"), TRES, ids=[row[0] for row in TRES])
def test_devices_of_tres(text, devices, rule, doubt):
    """The rule, over the conventions of many clusters."""
    found = slurm_tres.count(text, table=TABLE)

    assert (rule, doubt) == (found.rule, found.doubt)
    assert (None if devices is None else pytest.approx(devices)) == found.devices


GRES = {
    "gpu:h100:2(IDX:0-1)": (Generic("gpu", "h100", 2, (0, 1)),),
    "gpu:4(IDX:0-3)": (Generic("gpu", "", 4, (0, 1, 2, 3)),),
    "gpu:1g.10gb:2(IDX:0,3)": (Generic("gpu", "1g.10gb", 2, (0, 3)),),
    "gpu(IDX:0-3)": (Generic("gpu", "", 4, (0, 1, 2, 3)),),
    "gpu": (Generic("gpu", "", 1),),
    "gpu:2": (Generic("gpu", "", 2),),
    "gpu:a100": (Generic("gpu", "a100", 1),),
    "gres:gpu:2": (Generic("gpu", "", 2),),
    "gres/gpu:a100:4": (Generic("gpu", "a100", 4),),
    "gres/gpu=2": (Generic("gpu", "", 2),),
    "gpu:a100:2(S:0-1)": (Generic("gpu", "a100", 2),),
    "gpu:0(IDX:N/A)": (Generic("gpu", "", 0),),
    "gpu:v100:1(IDX:2),gpu:a100:2(IDX:0,1)": (
        Generic("gpu", "v100", 1, (2,)), Generic("gpu", "a100", 2, (0, 1)),
    ),
    "gpu:h100:1(IDX:0),shard:h100:4(IDX:1)": (
        Generic("gpu", "h100", 1, (0,)), Generic("shard", "h100", 4, (1,)),
    ),
    "gpu:nvidia_a100-sxm4-40gb:8(IDX:0-7)": (
        Generic("gpu", "nvidia_a100-sxm4-40gb", 8, (0, 1, 2, 3, 4, 5, 6, 7)),
    ),
    "mps:50(IDX:0)": (Generic("mps", "", 50, (0,)),),
    "shard:a100:2(1/4,1/4)": (Generic("shard", "a100", 2),),
    "craynetwork:1": (Generic("craynetwork", "", 1),),
    "(null)": (),
    "N/A": (),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GRES.items(), ids=repr)
def test_generic_resources_are_taken_apart(text, expected):
    """Types, counts and indices, in every form that Slurm prints."""
    assert expected == slurm_tres.gres(text)


DETAIL = [
    ("", ["gpu:h100:2(IDX:0-1)"], Count(2, "gres")),
    ("cpu=4,mem=8G", ["gpu:4(IDX:0-3)", "gpu:4(IDX:0-3)"], Count(8, "gres")),
    ("", ["gpu:1g.10gb:7(IDX:0-6)"], Count(1, "table")),
    ("", ["gpu:1(IDX:0),gpu:a100:2(IDX:1,2)"], Count(3, "gres")),
    ("gres/gpu=2", ["gpu:h100:2(IDX:0-1)"], Count(2, "generic")),
    ("gres/gpu=4", ["gpu:h100:2(IDX:0-1)"], Count(4, "generic", "GRES say 2")),
    ("", ["gpu:h100:3(IDX:0-1)"], Count(3, "gres", "3 of gres/gpu:h100 have 2 indices")),
    ("cpu=1", ["shard:4(IDX:0)"], Count(1, "table")),
    ("cpu=1", [], Count()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "detail", "expected"), DETAIL, ids=repr)
def test_generic_resources_count_where_tres_do_not(text, detail, expected):
    """And where both speak, what they disagree about is kept."""
    assert expected == slurm_tres.count(text, detail, TABLE)


def test_a_part_of_unknown_size_is_no_device():
    """Neither 4 devices nor none: unknown, and it says what to do."""
    found = slurm_tres.count("gres/shard=4")

    assert Count(None, "", "gres/shard=4 is not in the table of devices") == found


@pytest.mark.parametrize("text", ["cpu", "cpu=four", "cpu=-1", "gres/gpu=1e300", "cpu=1 gres/gpu=2", "mem=1X"])
def test_what_is_no_tres_is_doubted(text):
    """The number is unknown, and why is told."""
    found = slurm_tres.count(text)

    assert None is found.devices
    assert "TRES" in found.doubt
    with pytest.raises(Rejected):
        slurm_tres.tres(text)


def test_memory_is_bytes():
    """Megabytes where Slurm leaves the unit out."""
    found = [slurm_tres.tres(f"mem={amount}")["mem"] for amount in ("320.5G", "1500M", "1500")]

    assert [320.5 * 2**30, 1500 * 2**20, 1500 * 2**20] == found


@given(st.text(alphabet="gresu/:=,()IDX0123456789.hN-", max_size=60), st.text(max_size=30))
def test_any_text_counts_or_is_doubted(text, detail):
    """Nothing is raised, no count is negative."""
    found = slurm_tres.count(text, [detail], TABLE)

    assert found.devices is None or found.devices >= 0


@given(st.dictionaries(st.sampled_from(["a100", "h100", "v100"]), st.integers(1, 10_000), min_size=1))
def test_types_come_to_their_sum(types):
    """With and without the generic entry."""
    text = ",".join(f"gres/gpu:{name}={number}" for name, number in types.items())
    total = sum(types.values())

    assert Count(total, "typed") == slurm_tres.count(text)
    assert Count(total, "generic") == slurm_tres.count(f"{text},gres/gpu={total}")


@pytest.mark.parametrize(
    ("table", "expected"),
    [({"tpu": 0.5}, 2.0), ({"tpu": 0.0}, 0.0), ({"tpu:v5e": 2.0}, 8.0), ({"v5e": 0.25}, 1.0), ({"gpu": 3.0}, 4.0)],
)
def test_the_sites_table_has_the_last_word_about_tpus(table, expected):
    """Counted otherwise, or not at all."""
    found = slurm_tres.count("gres/tpu:v5e=4,gres/tpu=4", table=table)

    assert (expected, "generic" if "gpu" in table else "table") == (found.devices, found.rule)


def test_detail_of_tpus_counts_and_has_indices():
    """As of GPUs: where the TRES do not tell, and against them where they do."""
    detail = "tpu:v6e:4(IDX:0-3)"

    assert slurm_tres.gres(detail) == (Generic("tpu", "v6e", 4.0, (0, 1, 2, 3)),)
    assert slurm_tres.count("cpu=8,node=2", (detail, detail)) == Count(8.0, "gres", "")
    assert slurm_tres.count("gres/tpu=4", (detail, detail)) == Count(4.0, "generic", "GRES say 8")
    assert slurm_tres.of_gres(slurm_tres.gres("tpu:v6e:4(IDX:0-2)")).doubt == "4 of gres/tpu:v6e have 3 indices"
