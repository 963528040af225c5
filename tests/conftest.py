"""What all tests share: the goldens, and the option that writes them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says what else the machine does; speed is measured by `make bench`.
settings.register_profile("gpuwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpuwatch")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-golden, after which the difference in version control is the review."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ again from what is put out")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name under tests/golden/: `golden("agent_metrics.txt", text)`."""

    def compare(name: str, actual: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == actual

    return compare
