"""What all tests share: the goldens, and the option that writes them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import goldens

# How long an example takes says what else the machine does; speed is measured by `make bench`.
settings.register_profile("gpuwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpuwatch")

pytest_plugins = ["tests.ledger.fixtures", "tests.running_order"]

GOLDEN = Path(__file__).parent / "golden"
LONGEST_ID = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-golden, after which the difference in version control is the review."""
    parser.addoption("--update-golden", action="store_true", help="write goldens again from what is put out")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Megabytes of input are no name: the name of a test is sent to and fro many times."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str | Path, str], None]:
    """Compare a text with a golden: `golden("agent_metrics.txt", text)`, in tests/golden/ but for a whole path."""

    def compare(name: str | Path, actual: str) -> None:
        goldens.compare(GOLDEN / name, actual, update=request.config.getoption("--update-golden"))

    return compare
