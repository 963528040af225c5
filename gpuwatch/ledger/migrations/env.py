"""Runs the scripts in the transaction of whoever asked (`schema.migrate`), so that all of it counts or nothing."""

from __future__ import annotations

from alembic import context

from gpuwatch.ledger import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
context.run_migrations()
