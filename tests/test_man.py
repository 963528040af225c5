"""The manual page is what the commands say, and what roff can read."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from gpuwatch.cli import COMMANDS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The generator, which is no package."""
    spec = importlib.util.spec_from_file_location("generate_man", ROOT / "docs" / "generate_man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_page_is_what_the_commands_say(generate: ModuleType) -> None:
    """`make generate` was run after the last change of a command."""
    assert generate.render() == generate.PAGE.read_text(encoding="utf-8")


def test_the_manual_page_names_every_command(generate: ModuleType) -> None:
    """Each with a section."""
    page = generate.PAGE.read_text(encoding="utf-8")

    assert [] == [command for command in COMMANDS if f'.SS "gpuwatch {command}"' not in page]


@pytest.mark.skipif(shutil.which("man") is None or shutil.which("groff") is None, reason="there is no man here")
def test_roff_has_nothing_to_complain_of(generate: ModuleType) -> None:
    """Nor is anything of the text lost to it."""
    asked = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", str(generate.PAGE)]
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""}
    ran = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)

    text = re.sub(".\x08", "", ran.stdout)  # bold is a letter over itself
    assert "" == ran.stderr
    assert "gpuwatch compare" in text
    assert "--install-completion" in text


def test_what_roff_would_take_for_its_own_is_escaped(generate: ModuleType) -> None:
    """A dot at the beginning, a backslash, a hyphen."""
    assert r"\&.so /etc/x\-y \e" == generate._line(".so /etc/x-y \\")
