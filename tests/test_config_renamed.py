"""Keys that are called otherwise: an old file, or one with another program's keys, is told what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch import config, plugins
from gpuwatch.config_renamed import FOREIGN, RENAMED, Renamed, renamed
from gpuwatch.errors import ConfigurationError
from tests.test_config import SERVERS, all_keys


def test_renamed_key_is_told_by_its_new_name() -> None:
    """Since when, and what else there is to know; one that was removed says what to do."""
    ours = {
        "agent.x": Renamed("agent.y", "0.2"),
        "usage.*.z": Renamed("", "0.3", hint="nothing needs it"),
    }

    told = [str(renamed(key, ours)) for key in (("agent", "x"), ("usage", "promql", "z"))]
    assert ["was renamed to agent.y in 0.2", "was removed in 0.3; nothing needs it"] == told
    assert renamed(("usage", "z"), ours) is None


def test_keys_of_others_are_told_ours(tmp_path: Path) -> None:
    """In place of the list of all keys that there are."""
    path = tmp_path / "g.toml"
    path.write_text('hostname = "n"\n[agent]\nport = 9838\nlisen = ":1"\n[usage.promql]\ntoken = "t"\n')

    with pytest.raises(ConfigurationError) as raised:
        config.load(path, rooms=plugins.ROOMS)

    mistakes = raised.value.mistakes
    assert f"{path}: hostname: unknown key; here it is site.node" in mistakes
    assert f'{path}: agent.port: unknown key; here it is agent.listen; HOST:PORT, as in ":9838"' in mistakes
    assert any("agent.lisen: unknown key, did you mean 'listen'" in each for each in mistakes)
    token = "here it is usage.NAME.token_file; a secret is in a file of its own"
    assert f"{path}: usage.promql.token: unknown key; {token}" in mistakes


@pytest.mark.parametrize("key", [*RENAMED, *FOREIGN])
def test_whatever_is_renamed_is_gone_and_its_new_name_is_there(key: str) -> None:
    """A table of old keys that nobody keeps would send people astray."""
    keys = {*all_keys(), f"{SERVERS}.NAME.url"}
    there = keys | {each.rpartition(".")[0] for each in keys}
    told = renamed(key.split("."))
    assert told is not None

    assert key not in keys
    assert told.to == "" or "NAME" in told.to or told.to in there or told.to in ("sinks",)
