"""Mistakes in the table of the sink are told at once, and no password is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gpuwatch import config
from gpuwatch.errors import ConfigurationError
from gpuwatch.sinks.influxdb_settings import InfluxdbSettings


def test_defaults_are_the_contracts() -> None:
    """15 s, 512 MiB, 7 days."""
    settings = InfluxdbSettings.model_validate({"servers": {"main": {"url": "http://db:8086", "bucket": "gpu"}}})

    assert (15.0, 60.0, 512 * 2**20, 7.0) == (
        settings.push_seconds, settings.jobs_seconds, settings.spool_bytes, settings.spool_days,
    )  # fmt: skip
    assert Path("/var/lib/gpuwatch/spool") == settings.spool_directory
    assert (10.0, 5000.0, 1000) == (
        settings.servers["main"].timeout_seconds,
        settings.servers["main"].lines_per_second,
        settings.servers["main"].lines_per_request,
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "db:8086"}, "must be http://HOST:PORT"),
        ({"url": "http://db:8086?bucket=x"}, "must be http://HOST:PORT"),
        ({"url": "http://gpu:pw@db:8086"}, "must not carry a password"),
        ({"bucket": ""}, "at least 1 character"),
        ({"token_file": "/t", "username": "u", "password_file": "/p"}, "token_file or username, not both"),
        ({"username": "u"}, "username and password_file, or neither"),
        ({"username": "a:b", "password_file": "/p"}, "without a colon"),
        ({"cert_file": "/c"}, "cert_file and key_file, or neither"),
        ({"timeout_seconds": 0}, "greater than 0"),
        ({"lines_per_second": 0}, "greater than 0"),
        ({"lines_per_request": 0}, "greater than or equal to 1"),
        ({"token": "abc"}, "Extra inputs are not permitted"),
    ],
)
def test_mistake_of_a_server_is_told(changed: dict[str, Any], said: str) -> None:
    """At start, not at the first request."""
    server = {"url": "http://db:8086", "bucket": "gpu", **changed}

    with pytest.raises(ValidationError, match=said):
        InfluxdbSettings.model_validate({"servers": {"main": server}})


@pytest.mark.parametrize("servers", [{}, {"a b": 1}, {"../x": 1}, {"": 1}, {"x" * 65: 1}])
def test_there_is_a_server_and_its_name_can_be_a_label_and_a_file(servers: dict[str, Any]) -> None:
    """It is part of a metric's label and of the name of a file."""
    table = {name: {"url": "http://db:8086", "bucket": "gpu"} for name in servers}

    with pytest.raises(ValidationError):
        InfluxdbSettings.model_validate({"servers": table})


def test_password_in_an_address_is_not_shown_in_the_mistake(tmp_path: Path) -> None:
    """Where it is told what is wrong, everybody reads it."""
    file = tmp_path / "gpuwatch.toml"
    file.write_text('[sinks.influxdb.servers.main]\nurl = "http://gpu:hunter2@db:8086"\nbucket = "gpu"\n')

    with pytest.raises(ConfigurationError) as refused:
        config.load(file, rooms=("sinks",))

    (mistake,) = refused.value.mistakes
    assert ("must not carry a password" in mistake, "hunter2" in mistake) == (True, False)
