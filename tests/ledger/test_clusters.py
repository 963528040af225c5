"""Whose ledger it is: two are not merged by mistake."""

from __future__ import annotations

import pytest

from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger import clusters
from gpuwatch.ledger.store import Store


def test_a_file_of_another_cluster_is_refused(sqlite_store: Store) -> None:
    """Both are named."""
    with sqlite_store.writing() as connection:
        clusters.claim(connection, "hydra", 1.0, "here")
        with pytest.raises(ConfigurationError, match="'here': is that of cluster 'hydra', not of 'medusa'"):
            clusters.claim(connection, "medusa", 2.0, "here")

        assert ("hydra",) == clusters.known(connection)


def test_a_database_takes_another_cluster(postgres_store: Store) -> None:
    """Beside those that it has."""
    with postgres_store.writing() as connection:
        for cluster in ("medusa", "hydra", "hydra"):
            clusters.claim(connection, cluster, 1.0, "here")

        assert ("hydra", "medusa") == clusters.known(connection)


def test_what_is_imported_keeps_the_ledger_its_owners(store: Store) -> None:
    """One that is new is the configured cluster's, whatever is imported first."""
    with store.writing() as connection:
        clusters.add_imported(connection, "old", "hydra", 1.0)
        clusters.add_imported(connection, "older", "other", 1.0)
        clusters.claim(connection, "hydra", 2.0, "here")

        assert ("hydra", "old", "older") == clusters.known(connection)
