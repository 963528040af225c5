"""The table of a site and its file of addresses: every mistake is told, and no address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuwatch import config
from gpuwatch.errors import ConfigurationError
from gpuwatch.notifiers.apprise_settings import AppriseSettings, addresses_of

SECRET = "slack://T1JJ3T3L2/A1BRTD4JD/SECRET"


def file(folder: Path, text: str | bytes, mode: int = 0o640) -> Path:
    path = folder / "urls.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def refused(**settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        addresses_of(AppriseSettings(**settings))
    return raised.value.mistakes


def test_one_address_or_several() -> None:
    """A string stands for an array of one."""
    found = addresses_of(AppriseSettings(operators="json://a", channels={"x": ["json://b", "json://c"]}))  # type: ignore[arg-type]

    assert (("json://a",), {"x": ("json://b", "json://c")}) == (found.operators, dict(found.channels))


def test_addresses_can_be_in_a_file(tmp_path: Path) -> None:
    """Beside those of the configuration."""
    path = file(tmp_path, f'owner = "json://h/{{user}}"\nchannels = {{ml = "{SECRET}"}}\n')

    found = addresses_of(AppriseSettings(urls_file=path, channels={"ops": "json://o"}))  # type: ignore[arg-type]
    assert ("json://h/{user}",) == found.owner
    assert {"ops": ("json://o",), "ml": (SECRET,)} == dict(found.channels)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o642, 0o666])
def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It has secrets."""
    path = file(tmp_path, "", mode)

    assert (f"notifiers.apprise.urls_file: {path}: everybody may read or write it; chmod 0640 it",) == refused(
        urls_file=path
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f'owner = "{SECRET}', "is not TOML"), (b"\xff", "byte 0 is not UTF-8"),
        (f'ownr = "{SECRET}"', "ownr: Extra inputs"),
        (f'operators = ["{SECRET}", 3]', "operators.1: Input should be a valid string"),
        (f'channels = "{SECRET}"', "channels: Input should be a valid dictionary"),
        (f'owner = {{a = "{SECRET}"}}', "owner: Input should be a valid tuple"),
        ("#" * (1 << 20) + "##", "is longer than"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_without_what_it_has(
    tmp_path: Path, text: str | bytes, wrong: str
) -> None:
    """Not even in part."""
    path = file(tmp_path, text)

    (told,) = refused(urls_file=path)
    assert told.startswith(f"notifiers.apprise.urls_file: {path}: {wrong}")
    assert "SECRET" not in told


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is no file without addresses."""
    path = tmp_path / "none"

    assert (f"notifiers.apprise.urls_file: {path}: cannot be read; No such file or directory",) == refused(
        urls_file=path
    )


def test_what_is_in_both_is_a_mistake(tmp_path: Path) -> None:
    """Nobody knows which was meant."""
    path = file(tmp_path, 'owner = "json://h/{user}"\nchannels = {ml = "json://h"}\n')

    expected = ("owner: is in urls_file as well", "channels.ml: is in urls_file as well")
    told = refused(urls_file=path, owner="json://g/{user}", channels={"ml": "json://g"})
    assert [f"notifiers.apprise.{each}; one of them must go" for each in expected] == list(told)


@pytest.mark.parametrize(
    "line",
    [
        f'owner = {{a = "{SECRET}"}}', f'operators = ["{SECRET}", 3]', f'channels = "{SECRET}"',
        f'channels = {{a = ["{SECRET}", 4]}}', f'people = ["{SECRET}"]', f'ownr = "{SECRET}"',
        f'accounts = {{a = {{b = "{SECRET}"}}}}',
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_shows_no_address(tmp_path: Path, line: str) -> None:
    """Messages show what was given, but for these."""
    path = file(tmp_path, f"[notifiers.apprise]\n{line}\n")

    with pytest.raises(ConfigurationError) as raised:
        config.load(path, rooms=("notifiers",))
    assert "notifiers.apprise." in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_settings_show_no_address() -> None:
    """However they are printed."""
    settings = AppriseSettings(owner=SECRET, channels={"a": SECRET}, people={"b": [SECRET]})  # type: ignore[arg-type]

    assert "SECRET" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "SECRET" not in repr(addresses_of(settings))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("links", "ftp://x"), ("links", "https://user:pw@x"), ("runbook_url", "https://x/a) [b](c"),
        ("links", "https://x/<b>"),
        ("subject_prefix", "a\r\nBcc: b"), ("subject_prefix", "x" * 31), ("timeout_seconds", 0),
        ("timeout_seconds", 121),
    ],
)  # fmt: skip
def test_what_everybody_is_shown_is_checked(key: str, value: object) -> None:
    """It goes into letters as it is."""
    with pytest.raises(ValueError, match=key):
        AppriseSettings(**{key: value})  # type: ignore[arg-type]
