"""The OpenAPI document is what the server does: hostile requests are made of it, and answers held against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema_rs import validator_for
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from gpuwatch.ledger.store import open_store
from gpuwatch.web.api_operations import ACTIONS, OPERATIONS
from gpuwatch.web.openapi import openapi
from tests.web.ledgers import api, as_user, fill


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document as the application serves it."""
    store = open_store(str(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    fill(store)
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", api(store))
    store.close()


schema = schemathesis.pytest.from_fixture("served")

# The test says who asks by a header of its own, and a cursor or a period may be well-formed and still be none.
NOT_HERE = [ignored_auth, positive_data_acceptance]


@schema.parametrize()
@settings(max_examples=5, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_hostile_requests_get_answers_of_the_document(case: schemathesis.Case) -> None:
    """Whatever is asked, the status, the type and the body are such as the document says, and never a failure."""
    case.call_and_validate(headers=dict(as_user("root")), excluded_checks=NOT_HERE)


def test_every_operation_and_parameter_is_described() -> None:
    """One source: what the server takes is what the document says, each with a description and an example."""
    document = openapi(OPERATIONS)

    for operation in OPERATIONS:
        described = document["paths"][f"/api/v1{operation.path}"]["get"]
        named = {"name"} if operation.named else set()
        assert named | {each.name for each in operation.parameters} == {
            each["name"] for each in described["parameters"] if each["description"]
        }
        assert operation.example == described["responses"]["200"]["content"]["application/json"]["example"]
        assert ("404" in described["responses"]) == (bool(operation.named) or operation.may_miss)


def test_every_action_is_described() -> None:
    """With the body that it wants and an example of it, and the answer."""
    document = openapi(OPERATIONS, actions=ACTIONS)

    for action in ACTIONS:
        described = document["paths"][f"/api/v1{action.path}"]["post"]
        wanted = described["requestBody"]["content"]["application/json"]
        assert (action.body, action.body_example) == (wanted["schema"], wanted["example"])
        assert action.example == described["responses"]["200"]["content"]["application/json"]["example"]
        validator_for(dict(action.body)).validate(action.body_example)
        validator_for(dict(action.schema)).validate(action.example)
