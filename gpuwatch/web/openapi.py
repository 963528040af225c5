"""The OpenAPI 3.1 document of the API, made of the declarations of its operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpuwatch.web import examples, schemas
from gpuwatch.web.operations import BASE, Action, Operation
from gpuwatch.web.parameters import NAME_LENGTH, Parameter

PATH = f"{BASE}/openapi.json"
_VERSION = "1"
_REFUSALS = {
    "400": "a parameter is not known or not possible",
    "401": "who asks is not known; the text says how to prove it",
    "503": "too many ask, or the ledger cannot be read now; ask again",
}
_ACTION_REFUSALS = _REFUSALS | {
    "400": "the body is not as its schema says, or does not follow the grammar; the text says where",
    "403": "it is not yours to do; the text says who may",
    "404": "there is none",
    "413": "the body is too long",
    "415": "the body is not application/json",
    "429": "you say too much at once; ask again",
}
_MISSING = {"404": "there is none, or it is not yours to read"}


def openapi(
    operations: Iterable[Operation], title: str = "gpuwatch accounting", actions: Iterable[Action] = ()
) -> dict[str, Any]:
    """The document; `securitySchemes` are those that a site may have configured."""
    paths = {BASE + each.path: {"get": _operation(each)} for each in operations}
    for action in actions:
        paths.setdefault(BASE + action.path, {})["post"] = _action(action)
    paths[PATH] = {"get": _own()}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": _VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": {"Error": schemas.ERROR}, "securitySchemes": dict(_SCHEMES)},
        "security": [{name: []} for name in _SCHEMES],
    }


_DESCRIPTION = (
    "Base units (seconds, joules), Unix seconds, null for what is not known. Lists are paged: give `next` as"
    " `cursor`. You see your own jobs, those of accounts that you coordinate, and everything where you are staff."
)
_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "basic": {"type": "http", "scheme": "basic"},
    "slurm": {"type": "apiKey", "in": "header", "name": "X-SLURM-USER-TOKEN"},
    "munge": {"type": "http", "scheme": "munge"},
}


def _operation(operation: Operation) -> dict[str, Any]:
    refusals = _REFUSALS | (_MISSING if operation.named or operation.may_miss else {})
    return {
        "operationId": operation.path.strip("/").replace("/{name}", "-by-name"),
        "summary": operation.summary,
        "parameters": [*_named(operation), *map(_parameter, operation.parameters)],
        "responses": {
            "200": _answer(operation.summary, operation.schema, operation.example),
            "304": {"description": "it is as the ETag in If-None-Match says"},
            **{status: _refusal(words) for status, words in refusals.items()},
        },
    }


def _action(action: Action) -> dict[str, Any]:
    content = {"application/json": {"schema": dict(action.body), "example": action.body_example}}
    return {
        "operationId": "post-" + action.path.strip("/"),
        "summary": action.summary,
        "parameters": [],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": _answer(action.summary, action.schema, action.example),
            **{status: _refusal(words) for status, words in _ACTION_REFUSALS.items()},
        },
    }


def _own() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "parameters": [],
        "responses": {"200": _answer("This document", schemas.OPENAPI, examples.OPENAPI)},
        "security": [{}],
    }


def _named(operation: Operation) -> list[dict[str, Any]]:
    if not operation.named:
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
    return [{"name": "name", "in": "path", "required": True, "description": operation.named, "schema": schema}]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _answer(description: str, schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": dict(schema), "example": example}}
    return {"description": description, "content": content}


def _refusal(words: str) -> dict[str, Any]:
    return _answer(words, {"$ref": "#/components/schemas/Error"}, {"error": words})
