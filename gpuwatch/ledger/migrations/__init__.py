"""Alembic's scripts: how a ledger of each released schema becomes one of the next."""
