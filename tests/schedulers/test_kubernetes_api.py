"""Questions to an API server over real HTTP: pages, refusals, slowness, and how to reach it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.schedulers.kubernetes_api import Api, Refused, pages, pods_path
from tests.schedulers.fake_api import FakeApi, serving, status
from tests.schedulers.pods import pod


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """An API server with five pods."""
    api = FakeApi()
    api.pods = [pod(f"p-{number}") for number in range(5)]
    with serving(api):
        yield api


@pytest.fixture
def client(server: FakeApi, tmp_path: Path) -> Api:
    """A client that reaches it by a kubeconfig."""
    return Api(server.kubeconfig(tmp_path), None, 5.0)


def names(found: Iterator[object]) -> list[str]:
    """Of pods."""
    return [each["metadata"]["name"] for each in found]


def test_list_is_read_page_by_page(server: FakeApi, client: Api) -> None:
    """With the token of the kubeconfig; an answer may be packed."""
    found = names(pages(client, pods_path(""), 2))

    assert [f"p-{number}" for number in range(5)] == found
    assert [
        "/api/v1/pods?limit=2",
        "/api/v1/pods?limit=2&continue=2",
        "/api/v1/pods?limit=2&continue=4",
    ] == server.asked
    assert {"Bearer s3cret"} == {each["Authorization"] for each in server.headers}


def test_list_that_was_forgotten_goes_on(server: FakeApi, client: Api) -> None:
    """410 Gone has a token to go on with what there is now."""
    server.refuse = lambda path: (
        status(410, "too old", **{"continue": "3"}) if path.endswith("continue=2") else None
    )

    assert ["p-0", "p-1", "p-3", "p-4"] == names(pages(client, pods_path(""), 2))


def test_list_that_is_forgotten_without_a_way_on_is_refused(server: FakeApi, client: Api) -> None:
    """The next look begins anew."""
    server.refuse = lambda path: status(410, "too old") if "continue" in path else None

    with pytest.raises(Refused, match="answered 410; too old"):
        names(pages(client, pods_path(""), 2))


def test_list_without_end_is_given_up() -> None:
    """A server that always says there is more."""

    class Endless:
        """Every page has another."""

        def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
            """One page."""
            return {"metadata": {"continue": "more"}, "items": []}

    with pytest.raises(Unavailable, match="more than 2000 pages"):
        names(pages(Endless(), pods_path(""), 2))


def test_refusal_tells_status_reason_and_wish(server: FakeApi, client: Api) -> None:
    """A busy server says when to come again; what it says stays on one line."""
    server.refuse, server.retry_after = (lambda path: status(429, "slow\ndown")), "7"

    with pytest.raises(Refused, match=r"answered 429; slow\\ndown") as refused:
        client.get("/api/v1/pods")
    assert (429, 7.0) == (refused.value.status, refused.value.wait_seconds)


def test_slow_answer_is_given_up_as_a_whole(server: FakeApi, tmp_path: Path) -> None:
    """Although a byte comes every now and then."""
    server.drip_seconds = 0.02
    client = Api(server.kubeconfig(tmp_path), None, 0.2)

    with pytest.raises(Unavailable, match="answered too slowly"):
        client.get("/api/v1/pods", {"limit": "5"})


def test_server_that_is_not_there_is_unavailable(server: FakeApi, tmp_path: Path) -> None:
    """Its address is named."""
    server.url = "http://127.0.0.1:1"

    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1/api/v1/pods: "):
        Api(server.kubeconfig(tmp_path), None, 5.0).get("/api/v1/pods")


def test_namespace_is_part_of_the_path() -> None:
    """Whatever is in it."""
    assert ("/api/v1/pods", "/api/v1/namespaces/a%2F..%2Fb/pods") == (pods_path(""), pods_path("a/../b"))


@pytest.mark.parametrize("content", [None, "", "clusters: [", "{}"])
def test_kubeconfig_that_says_nothing_is_a_mistake(tmp_path: Path, content: str | None) -> None:
    """Absent, empty, no YAML, or no configuration: found at start."""
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigurationError, match=r"schedulers\.kubernetes\.kubeconfig: "):
        Api(path, None, 5.0)


def test_outside_a_pod_a_kubeconfig_is_needed() -> None:
    """There is no token to be found."""
    with pytest.raises(ConfigurationError, match="unset, and this is no pod"):
        Api(None, None, 5.0)


def test_missing_library_is_a_mistake_of_the_installation() -> None:
    """The message says what to install."""
    code = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from gpuwatch.errors import ConfigurationError\n"
        "from gpuwatch.schedulers.kubernetes import KubernetesScheduler\n"
        "from gpuwatch.model import Site\n"
        "try: KubernetesScheduler(KubernetesScheduler.Settings(), Site())\n"
        "except ConfigurationError as exc: print(exc)\n"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.rstrip().endswith("install gpuwatch[kubernetes]")
