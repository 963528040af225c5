"""What docs/alerts.md and the sample policy say of alerts is so."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from gpuwatch.accounting.alert_metrics import CATALOGUE
from gpuwatch.accounting.alert_policy import LetterLimits, Policy, Rule, TellRule, Thresholds, load_policy
from gpuwatch.notifiers.kinds import KINDS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "deploy" / "alerts.toml"
TABLES = {"thresholds": Thresholds, "letters": LetterLimits}
DEFAULTS = {
    (table, key): json.dumps(field.default)
    for table, model in TABLES.items()
    for key, field in model.model_fields.items()
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_on_the_page_with_whom_it_is_for(kind: str) -> None:
    """In the order in which letters tell them; what is a fact is said to be one."""
    (row,) = re.findall(rf"^\| `{kind}` \| (.*)$", PAGE, re.MULTILINE)
    _, whom, right = (cell.strip() for cell in row.strip("| ").split("|"))

    assert (KINDS[kind].audience == "operators") == (whom == "operators")
    assert KINDS[kind].fact == (right == "it is a fact")


def test_kinds_are_in_their_order() -> None:
    """One that there is not is not on the page."""
    table = PAGE.partition("## Kinds")[2].partition("\n## ")[0]

    assert [*KINDS] == re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE)


@pytest.mark.parametrize(("table", "key"), DEFAULTS)
def test_every_key_is_on_the_page_and_in_the_sample_with_its_default(table: str, key: str) -> None:
    """The same in both."""
    default = DEFAULTS[table, key]

    assert f"| `{table}.{key}` | `{default}` |" in PAGE
    assert f"\n#{key} = {default}\n" in SAMPLE.read_text(encoding="utf-8").partition(f"[{table}]")[2]


def test_no_key_is_on_the_page_that_there_is_not() -> None:
    """Of a table of the file."""
    found = re.findall(r"^\| `(thresholds|letters)\.(\w+)`", PAGE, re.MULTILINE)

    assert [*DEFAULTS] == found


def test_rules_are_on_the_page_and_in_the_sample() -> None:
    """With their defaults; those of `observe` are fewer."""
    sample = SAMPLE.read_text(encoding="utf-8")
    tell, observe = (sample.partition(f"#[[{name}]]")[2].partition("\n\n")[0] for name in ("tell", "observe"))
    for model, text in ((TellRule, tell), (Rule, observe)):
        assert [*model.model_fields] == re.findall(r"^#(\w+) =", text, re.MULTILINE)
    for key, field in TellRule.model_fields.items():
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        assert f"| `{key}` | {default} |" in PAGE


def test_the_sample_is_a_policy_that_changes_nothing(tmp_path: Path) -> None:
    """As it is, and with all of its keys."""
    whole = re.sub(r"^#(?=\[\[|\w+ = )", "", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path = tmp_path / "alerts.toml"
    path.write_text(whole, encoding="utf-8")

    assert Policy() == load_policy(SAMPLE)
    filled = load_policy(path)
    assert (Policy().thresholds, Policy().letters) == (filled.thresholds, filled.letters)
    assert (1, 1) == (len(filled.tell), len(filled.observe))


def test_policies_on_the_page_are_some() -> None:
    """Whoever pastes one has no mistake."""
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        Policy.model_validate(tomllib.loads(block))


def test_every_metric_of_alerts_is_on_the_page() -> None:
    """Operators look for them here."""
    assert [] == [each.name for each in CATALOGUE if f"`{each.name}`" not in PAGE]
