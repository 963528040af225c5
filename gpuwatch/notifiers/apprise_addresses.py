"""Whom a word reaches: addresses of Apprise from the configuration, and what a job's owner may fill in. No I/O.

A name from a job goes into an address only where it is an ordinary one, and percent-encoded: it can be a part of
the path or of a value, and neither another host nor a second recipient nor a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from gpuwatch.model import EMPTY, Alert
from gpuwatch.notifiers.apprise_places import PLACES

Urls = tuple[str, ...]

_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CHANNEL = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_GROUPS = ("owner", "account", "operators")
_WORD_LENGTH = 200
_SAMPLE = "alice"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the configuration, under its key there; it may have a secret in it, and is never shown."""

    key: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Addresses:
    """All of a configuration; `owner` and `account` are templates."""

    owner: Urls = field(default=(), repr=False)
    account: Urls = field(default=(), repr=False)
    operators: Urls = field(default=(), repr=False)
    people: Mapping[str, Urls] = field(default=EMPTY, repr=False)
    accounts: Mapping[str, Urls] = field(default=EMPTY, repr=False)
    channels: Mapping[str, Urls] = field(default=EMPTY, repr=False)

    def of(self, word: str, cluster: str) -> Urls:
        """Where a recipient is reached; empty where nobody is behind the word."""
        kind, _, name = word.partition(":")
        if kind == "user":
            return self.people.get(name) or _filled(self.owner, name, cluster, user=name)
        if kind == "account":
            return self.accounts.get(name) or _filled(self.account, name, cluster, account=name)
        return self.operators if word == "operators" else self.channels.get(name, ()) if kind == "channel" else ()

    def recipients(self, alert: Alert, to: Collection[str], cluster: str) -> Sequence[str]:
        """The words of those who are told of an alert; none that would tell only whom another one tells."""
        found: dict[str, Urls] = {}
        told: set[str] = set()
        for word in _words(alert, to):
            urls = self.of(word, cluster)
            if urls and len(word) <= _WORD_LENGTH and not told.issuperset(urls):
                found[word] = urls
                told.update(urls)
        return tuple(found)

    def samples(self, cluster: str) -> Iterator[Address]:
        """Every address that there is, those of templates for somebody called alice."""
        for key, urls in (("owner", self.owner), ("account", self.account)):
            for url in urls:
                yield Address(key, _fill(url, cluster, user=_SAMPLE, account=_SAMPLE))
        yield from (Address("operators", url) for url in self.operators)
        for table, those in (("people", self.people), ("accounts", self.accounts), ("channels", self.channels)):
            yield from (Address(f"{table}.{name}", url) for name, urls in those.items() for url in urls)

    def mistakes(self) -> Iterator[str]:
        """What is wrong with keys, schemas and placeholders; no address is in it."""
        for key, urls, own in (("owner", self.owner, "user"), ("account", self.account, "account")):
            for url in urls:
                yield from (f"{key}: {wrong}" for wrong in _template_mistakes(url, own))
        for name in self.channels:
            if name in _GROUPS or not _CHANNEL.fullmatch(name):
                allowed = f"letters, digits and . _ - only, and none of {', '.join(_GROUPS)}"
                yield f"channels: {name[:100]!r} cannot be the name of a channel; it must be {allowed}"


def schema_of(url: str) -> str:
    """The schema of an address; empty where it is none of `PLACES`."""
    schema, is_one, _ = url.partition("://")
    return schema.lower() if is_one and schema.lower() in PLACES else ""


def _template_mistakes(url: str, own: str) -> Iterator[str]:
    names = set(_PLACEHOLDER.findall(url))
    for name in sorted(names - {own, "cluster"}):
        yield f"has a placeholder {{{name[:40]}}}; there is: {{{own}}}, {{cluster}}"
    if own not in names:
        yield f"has no {{{own}}}: everybody's letters would go to one place; name that as operators or a channel"
    if "{" in urlsplit(url).netloc:
        yield "has a placeholder where the host is; names may not choose where letters go"


def _words(alert: Alert, to: Collection[str]) -> Iterator[str]:
    """In one order, whatever that of `to` is: who is left out as told twice is always the same."""
    concern = alert.concern
    if "owner" in to and concern.user:
        yield f"user:{concern.user}"
    if "account" in to and concern.account:
        yield f"account:{concern.account}"
    if "operators" in to:
        yield "operators"
    yield from (f"channel:{name}" for name in sorted(to) if name not in _GROUPS)


def _filled(templates: Urls, name: str, cluster: str, **names: str) -> Urls:
    return tuple(_fill(url, cluster, **names) for url in templates) if _NAME.fullmatch(name) else ()


def _fill(template: str, cluster: str, **names: str) -> str:
    values = {"cluster": cluster, **names}
    return _PLACEHOLDER.sub(lambda found: quote(values.get(found.group(1), ""), safe=""), template)
