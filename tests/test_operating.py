"""The table of faults in docs/operating.md: what it says is seen can be seen, and each fault has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")

TESTED = {
    "systemd does not run": ("cli/test_install.py", "test_without_systemd_it_says_what_to_do_instead"),
    "not root": ("cli/test_install.py", "test_another_user_is_told_that_only_root_can"),
    "the configuration has a mistake": (
        "cli/test_agent.py", "test_every_mistake_in_the_configuration_is_told_at_once_and_exits_78",
    ),
    "old configuration keys": ("test_config_renamed.py", "test_keys_of_others_are_told_ours"),
    "a world-readable file that holds a token": (
        "cli/test_check_node.py", "test_secret_that_everybody_gets_at_is_refused",
    ),
    "an address that is taken": ("cli/test_reload.py", "test_what_cannot_be_built_leaves_everything_as_it_was"),
    "two agents on one state": (
        "cli/test_agent.py", "test_second_agent_on_the_same_state_exits_75_with_the_holders_pid",
    ),
    "no device, or no driver": ("cli/test_agent.py", "test_without_a_driver_it_runs_and_says_so_once"),
    "NVIDIA's module loaded later than the unit": (
        "devices/test_nodes.py", "test_a_node_that_came_later_and_is_refused_asks_for_a_restart",
    ),
    "driver upgraded under the agent": ("cli/test_agent.py", "test_driver_upgraded_under_the_agent_exits_75"),
    "a device that does not answer": ("cli/test_agent.py", "test_hanging_driver_call_takes_only_its_device"),
    "the agent is killed": ("cli/test_agent.py", "test_killed_agent_goes_on_where_it_was"),
    "host renamed": ("agent/test_owner.py", "test_renamed_node_begins_another_epoch_and_keeps_what_there_was"),
    "clock before the build date": ("cli/test_clock_at_start.py", "test_clock_that_nobody_set_is_said"),
    "the clock jumps": ("faults/test_time.py", "test_fault_18_clock_jump_changes_neither_cadence_nor_totals"),
    "/var full": ("cli/test_agent.py", "test_full_disk_is_said_and_nothing_else_stops"),
    "/var read-only": ("cli/test_check_node.py", "test_read_only_disk_keeps_the_agent_from_running"),
    "state on a memory file system": ("cli/test_check_node.py", "test_state_in_memory_is_a_warning"),
    "state that cannot be read": (
        "agent/test_state.py", "test_unreadable_state_is_kept_aside_and_a_new_epoch_begins",
    ),
    "InfluxDB is down": ("faults/test_influxdb.py", "test_fault_9_sigterm_with_the_sink_down"),
    "the ledger's disk is full": ("faults/test_ledger_disk.py", "test_a_full_disk_costs_passes_and_no_figure"),
    "accounting is down": (
        "agent/test_journal.py", "test_too_old_and_too_much_is_given_up_oldest_first_and_counted",
    ),
    "a certificate expires": (
        "web/test_security.py", "test_a_certificate_that_expires_while_it_is_served_is_said_once",
    ),
}  # fmt: skip
"""Where each fault is brought about: a file of tests, and how the name of the test begins."""


def _rows() -> dict[str, list[str]]:
    table = PAGE.partition("## When something is wrong")[2]
    rows = [re.split(r" \| ", line.strip("| ")) for line in table.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in rows[1:]}


@pytest.fixture(scope="module")
def source() -> str:
    """What the program can say, with strings that go on over several lines put together."""
    files = [*(ROOT / "gpuwatch").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_every_row_says_what_happens_what_is_seen_and_what_to_do() -> None:
    """Three cells, none of them empty."""
    rows = _rows()

    assert len(rows) >= 20
    assert {3} == {len(cells) for cells in rows.values()}
    assert all(cell.strip() for cells in rows.values() for cell in cells)


def test_every_fault_is_brought_about_by_a_test() -> None:
    """The tests that the table rests on are there."""
    assert TESTED.keys() == _rows().keys()
    for name, prefix in TESTED.values():
        assert re.search(rf"(?m)^def {prefix}", (ROOT / "tests" / name).read_text(encoding="utf-8")), (
            name,
            prefix,
        )


@pytest.mark.parametrize("fault", TESTED)
def test_what_is_seen_is_said_by_the_program(fault: str, source: str) -> None:
    """Words in code are a message, a metric, an alert with a page, or a command."""
    for words in re.findall(r"`([^`]+)`", _rows()[fault][1]):
        if words.startswith("Gpuwatch"):
            assert (ROOT / "docs" / "runbooks" / f"{words}.md").exists(), words
        elif words.startswith("gpuwatch_"):
            metric = words.removeprefix("gpuwatch_").partition("_")[2]
            assert metric in source, words
        elif not words.startswith("gpuwatch "):
            assert words in source, words


def test_the_rows_of_the_requirements_are_there() -> None:
    """The faults that gpuwatch was asked to stand."""
    asked = (
        "systemd", "root", "loaded later", "driver upgraded", "host renamed", "clock before", "full", "read-only",
        "memory file system", "old configuration keys", "world-readable",
    )  # fmt: skip

    for words in asked:
        assert any(words in fault for fault in _rows()), words
