"""Ask an application without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


def client(app: Any) -> httpx.AsyncClient:
    """A client whose every request goes to the application itself; an error in it is a 500, as on the wire."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gpuwatch.test", headers={"accept-encoding": ""})


def ask(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """One request and its answer."""

    async def asking() -> httpx.Response:
        async with client(app) as asker:
            return await asker.request(method, path, **options)

    return asyncio.run(asking())
