"""A ledger for each test."""

from __future__ import annotations

from tests.ledger.conftest import store

__all__ = ["store"]
