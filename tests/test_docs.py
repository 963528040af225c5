"""The documentation says what there is: commands, options, links, and no path or name that is not there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from gpuwatch.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("deploy/*/README.md")]
)


def test_the_page_of_commands_is_what_the_commands_say():
    """`make generate` was run after the last change of a command."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert generate.render() == generate.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command):
    """A command that the README does not know is a command that nobody finds."""
    assert f"gpuwatch {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link of a page is a file of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_commands_that_exist(page):
    """`gpuwatch WORD` in code is a command."""
    spoken = set(re.findall(r"`gpuwatch ([a-z]+)", page.read_text(encoding="utf-8")))

    assert spoken - set(COMMANDS) == set()
