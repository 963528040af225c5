"""Usage from the agents themselves, over their usage API (docs/usage-api.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Access, Client, ServerUrl, UserName, json_of
from gpuwatch.http.times import skew_text
from gpuwatch.model import EMPTY, Probe, Site
from gpuwatch.usage.agent_addresses import Addresses, expanded
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark
from gpuwatch.usage.clocks import MOST_SKEW_SECONDS

SCHEMA = 1
AT_ONCE = 16
MOST_VALUES = 750_000
"""So many values an agent's answer may have; of 5,000 rows it has half as many, and there are 16 at once."""
MAX_ANSWERS = 1000
"""How many answers one agent may give in a pass (`more`); what is left comes with the next pass."""
_MOST_SEQ = 2**63 - 1

Answer = Delivery | Failure


class AgentsUsage:
    """Reads every agent that the settings name, at most 16 at once. One that does not answer stays alone."""

    class Settings(Access):
        """The table `[usage.agents]`."""

        urls: tuple[str, ...] = Field(
            default=("http://127.0.0.1:9838",),
            description="addresses of the agents, also ranges of them, as `http://gpu[001-400]:9838`; "
            "the default holds where there are no `files` and `names`",
        )
        files: tuple[str, ...] = Field(
            default=(),
            description="files of targets as in Prometheus' `file_sd_configs`, also `/etc/targets/*.json`; "
            "read in each pass",
        )
        names: tuple[ServerUrl, ...] = Field(
            default=(),
            description="addresses whose host is a name with a record for each agent, as of a headless service; "
            "asked in each pass",
        )
        timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="wait for an agent this long")
        token_file: Path | None = Field(
            default=None, description="file with the shared token of the agents' usage API"
        )
        ca_file: Path | None = Field(
            default=None, description="trust https:// agents by the authorities in this file; unset: the system's"
        )
        cert_file: Path | None = Field(default=None, description="client certificate to show to https:// agents")
        username: UserName | None = Field(
            default=None, description="user of the agents' basic authentication, where they have no token"
        )

        @field_validator("urls")
        @classmethod
        def _ranges(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(address for url in urls for address in expanded(url))

        def addresses(self) -> Addresses:
            """Where to find them; the default address counts only where nothing else is set."""
            elsewhere = "urls" not in self.model_fields_set and (self.files or self.names)
            return Addresses(() if elsewhere else self.urls, self.files, self.names)

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._addresses = settings.addresses()
        self._client = Client(settings, most_values=MOST_VALUES)
        self._acknowledged: dict[str, tuple[str, int | None]] = {}

    def collect(self, asking: Asking) -> Iterator[Answer]:
        """Everything newer than the marks, agent by agent as they answer."""
        self._client.renew()
        urls, failures = self._addresses.now()
        yield from (Failure(where, message) for where, message in failures.items())
        asks = deque(_Ask(url, asking.marks.get(url)) for url in urls)
        running: dict[Future[tuple[Answer, _Ask | None]], _Ask] = {}
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usage") as pool:
            while asks or running:
                # No more is begun than is waited for, so that few answers are in memory at once.
                while asks and len(running) < AT_ONCE:
                    ask = asks.popleft()
                    running[pool.submit(self._read, ask)] = ask
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    answer, more = future.result()
                    if more is not None:
                        asks.appendleft(more)
                    yield answer

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the agent that the ledger has the delivery; once, also where it is repeated."""
        mark = delivery.epoch, delivery.seq
        if delivery.seq is None or self._acknowledged.get(delivery.origin) == mark:
            return
        try:
            self._client.post_json(f"{delivery.origin}/api/v1/ack", {"seq": delivery.seq})
        except Unavailable as exc:
            raise Unavailable(f"{delivery.origin}: cannot be acknowledged; {exc}") from exc
        self._acknowledged[delivery.origin] = mark

    def figures(self) -> Mapping[str, float]:
        """None: agents export their own."""
        return EMPTY

    def check(self, now: float) -> Sequence[Probe]:
        """Ask each agent for nothing that it could have, so that only whether it answers is seen."""
        self._client.renew()
        urls, failures = self._addresses.now()
        unread = [Probe(hygiene.log(where), False, hygiene.log(message)) for where, message in failures.items()]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usage") as pool:
            return [*unread, *pool.map(lambda url: self._probe(url, now), urls)]

    def _probe(self, url: str, now: float) -> Probe:
        try:
            document = self._document(url, _MOST_SEQ)
        except Unavailable as exc:
            return Probe(url, False, str(exc))
        ahead = document["now"] - now
        if abs(ahead) > MOST_SKEW_SECONDS:
            return Probe(url, False, skew_text(ahead))
        return Probe(
            url, True, f"node {hygiene.log(document['node'])}, cluster {hygiene.log(document['cluster'])}"
        )

    def _read(self, ask: _Ask) -> tuple[Answer, _Ask | None]:
        try:
            document = self._document(ask.url, ask.mark[1] if ask.mark else 0)
            if ask.mark is not None and (document["epoch"] != ask.mark[0] or document["seq"] < ask.mark[1]):
                # Another life of the agent: what it has from before our number counts as well.
                document = self._document(ask.url, 0)
            delivery = _delivery(document, ask.url)
        except Unavailable as exc:
            return Failure(ask.url, str(exc)), None
        more = bool(document.get("more")) and ask.answers < MAX_ANSWERS
        following = _Ask(ask.url, Mark(document["epoch"], document["seq"]), ask.answers + 1)
        return delivery, following if more else None

    def _document(self, url: str, since: int) -> Mapping[str, Any]:
        answer = self._client.get(f"{url}/api/v1/usage", {"since": str(since)})
        return _checked(json_of(answer.body))


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request to an agent: everything after `mark`, the `answers`th of this pass."""

    url: str
    mark: Mark | None
    answers: int = 1


_SHAPE: Mapping[str, type] = {
    "cluster": str, "node": str, "epoch": str, "seq": int, "rows": list, "declarations": list, "events": list,
}  # fmt: skip


def _checked(document: object) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise Unavailable("what it answered is no JSON object")
    if document.get("schema") != SCHEMA:
        raise Unavailable(f"answered schema {_shown(document.get('schema'))}; this gpuwatch reads {SCHEMA}")
    for name, kind in _SHAPE.items():
        if type(document.get(name)) is not kind:
            raise Unavailable(f"{name} is {_shown(document.get(name))}, not {kind.__name__}")
    if not 0 <= document["seq"] <= _MOST_SEQ:
        raise Unavailable(f"seq is {_shown(document['seq'])}, not a sequence number")
    now = document.get("now")
    if isinstance(now, bool) or not isinstance(now, int | float) or not 0 <= now < 2**53:
        raise Unavailable(f"now is {_shown(now)}, not a time")
    return document


def _shown(value: object) -> str:
    return hygiene.log(repr(value)[:60])


def _delivery(document: Mapping[str, Any], origin: str) -> Delivery:
    return Delivery(
        document["cluster"], document["node"], document["epoch"], document["seq"], float(document["now"]),
        document["rows"], document["declarations"], document["events"], origin,
    )  # fmt: skip
