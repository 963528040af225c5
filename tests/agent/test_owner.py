"""A state directory whose node or cluster is called otherwise than before."""

from __future__ import annotations

from pathlib import Path

from gpuwatch.agent.state import StateDirectory


def _claimed(path: Path, cluster: str, node: str) -> tuple[str, str]:
    """Whose it was, and the epoch that the agent goes on in."""
    with StateDirectory(path) as directory:
        before = directory.claim(cluster, node)
        loaded = directory.load("boot")
        directory.write(_document(loaded.state))
        directory.journal.write_bytes(b"{}\n")
        assert [] == loaded.abandoned
        return before, loaded.state.epoch


def _document(state: object) -> bytes:
    from gpuwatch.agent.state import encode

    return encode(state)  # type: ignore[arg-type]


def test_renamed_node_begins_another_epoch_and_keeps_what_there_was(tmp_path: Path) -> None:
    """Counters that are told under a second name would count twice: they are set aside, with the journal."""
    first = _claimed(tmp_path, "c", "n0")
    again = _claimed(tmp_path, "c", "n0")
    renamed = _claimed(tmp_path, "c", "n1")
    once_more = _claimed(tmp_path, "c", "n1")

    assert (("", first[1]), ("", first[1])) == (first, again)
    assert ("c/n0", True) == (renamed[0], renamed[1] != first[1])
    assert ("", renamed[1]) == once_more
    aside = sorted(path.name for path in tmp_path.iterdir() if ".of-c.n0-" in path.name)
    assert ["journal.jsonl.of-c.n0-0", "state.json.of-c.n0-0", "state.json.previous.of-c.n0-0"] == aside


def test_state_that_nobody_has_claimed_is_gone_on_from(tmp_path: Path) -> None:
    """An agent before this one noted no name."""
    epoch = _claimed(tmp_path, "c", "n0")[1]
    (tmp_path / "owner").unlink()

    assert ("", epoch) == _claimed(tmp_path, "c", "n1")


def test_what_was_set_aside_stays_when_the_name_changes_again(tmp_path: Path) -> None:
    """Nothing is lost under nothing."""
    for name in ("n0", "n1", "n0", "n1"):
        _claimed(tmp_path, "c", name)

    kept = sorted(path.name for path in tmp_path.glob("state.json.of-*"))
    assert ["state.json.of-c.n0-0", "state.json.of-c.n0-1", "state.json.of-c.n1-0"] == kept
