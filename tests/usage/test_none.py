"""No usage at all: nothing is delivered, and the check says what that means."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gpuwatch.model import Site
from gpuwatch.usage.base import Asking
from gpuwatch.usage.none import NoUsage


def test_there_is_nothing_to_tell():
    """The batch system's word is all there is."""
    source = NoUsage(NoUsage.Settings(), Site())

    assert list(source.collect(Asking(0.0))) == []
    (probe,) = source.check(0.0)
    assert probe.ok and "no energy" in probe.detail


def test_it_has_no_settings():
    """A key in its table is a mistake."""
    with pytest.raises(ValidationError):
        NoUsage.Settings(url="http://127.0.0.1:9090")
