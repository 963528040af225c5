"""Short words for the columns of the scripts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column

from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS


def key(name: str) -> Column[Any]:
    """A word that is part of a key."""
    return Column(name, WORDS, primary_key=True, nullable=False)


def word(name: str, nullable: bool = False) -> Column[Any]:
    """A word."""
    return Column(name, WORDS, nullable=nullable)


def writing(name: str, nullable: bool = False) -> Column[Any]:
    """A text of any length."""
    return Column(name, TEXT, nullable=nullable)


def whole(name: str, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """A whole number."""
    return Column(name, WHOLE, primary_key=primary_key, nullable=nullable, autoincrement=False)
