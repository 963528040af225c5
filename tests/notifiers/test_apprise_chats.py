"""Letters in chats and to programs: the bytes that leave for each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.errors import Rejected, Unavailable
from tests.http.serving import Asked, server
from tests.notifiers.letters import EVIL, letter, named, notifier, over, raised
from tests.notifiers.post_office import ChatServers, Posted, chat_servers

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/SECRETSECRETSECRETSECRET"
BOT = "slack://xoxb-1234-1234-SECRET/#gpu"
DISCORD = "discord://123456/SECRET"
TEAMS = "workflows://prod-1.example.org:443/ID/SECRET"


def answer(posted: Posted) -> tuple[int, bytes]:
    if posted.host == "slack.com":
        return 200, b'{"ok": true, "channel": "C1", "message": {}}'
    return (202, b"") if posted.host == "prod-1.example.org" else (200, b"ok")


@pytest.fixture
def chats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatServers]:
    with chat_servers(monkeypatch, tmp_path, answer) as servers:
        yield servers


def sent(chats: ChatServers, url: str, name: str) -> tuple[Posted, Any]:
    """What a chat gets of a letter about a campaign of a name."""
    assert notifier(channels={"ml": url}).send(named(name, "channel:ml"))
    (posted,) = chats.posted
    return posted, json.loads(posted.body)


@contextmanager
def hook(status: int = 200, body: bytes = b"{}") -> Iterator[tuple[str, list[Asked]]]:
    """A server of a site itself."""
    asked: list[Asked] = []

    def respond(found: Asked) -> tuple[int, dict[str, str], bytes]:
        asked.append(found)
        return status, {}, body

    with server(respond) as url:
        yield url.removeprefix("http://"), asked


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("url", [SLACK, BOT], ids=["webhook", "bot"])
def test_slack_is_called_by_nobody(chats: ChatServers, url: str, name: str) -> None:
    """Its `<…>` are escaped, and there is no name behind an @."""
    posted, document = sent(chats, url, name)

    (attachment,) = document["attachments"]
    text = attachment["title"] + attachment["text"]
    assert ("hooks.slack.com", "slack.com")[url == BOT] == posted.host
    assert not re.search("[<>]|@(?!\u200b)|&(?!amp;|lt;|gt;)|://(?!gpuwatch)", text)
    assert document["mrkdwn"] is False
    assert {"link_names", "parse", "icon_url", "username"}.isdisjoint(document)


@pytest.mark.parametrize("name", EVIL)
def test_discord_is_called_by_nobody(chats: ChatServers, name: str) -> None:
    """What is markup there has a backslash before it; a letter is not longer than a message may be."""
    posted, document = sent(chats, DISCORD, name)

    assert ("discord.com", "/api/webhooks/123456/SECRET") == (posted.host, posted.path)
    assert {"tts", "wait", "content"} == document.keys()
    bare = re.sub(r"\\.|\*\*Will use more than declared \(2\)\*\*", "", document["content"])
    assert not re.search("[<>*_`~|#]|\\[|@(?!\u200b)", bare)
    assert len(document["content"]) <= 2000


@pytest.mark.parametrize("name", EVIL)
def test_teams_shows_a_card_and_calls_nobody(chats: ChatServers, name: str) -> None:
    """There is no mention among its entities, and no markup that is not ours."""
    posted, document = sent(chats, TEAMS, name)

    card = document["attachments"][0]["content"]
    texts = "".join(block["text"] for block in card["body"])
    bare = re.sub(r"\\.|\[what to do\]\(https://gpuwatch\.dev/[A-Za-z/]+\)|\*\*", "", texts)
    assert "prod-1.example.org" == posted.host
    assert {"width": "full"} == card["msteams"]
    assert ["TextBlock", "TextBlock"] == [block["type"] for block in card["body"]]
    assert not re.search("[<>*_`~|#]|\\[|@(?!\u200b)", bare)


@pytest.mark.parametrize("name", EVIL)
def test_mattermost_is_called_by_nobody(name: str) -> None:
    """As Teams; a letter is not longer than a post may be."""
    with hook() as (host, asked):
        assert notifier(channels={"ml": f"mmost://{host}/SECRET"}).send(named(name, "channel:ml"))

        (posted,) = asked
        text = json.loads(posted.body)["text"]
        bare = re.sub(r"\\.|\[what to do\]\(https://gpuwatch\.dev/[A-Za-z/]+\)|\*\*", "", text)
        assert "/hooks/SECRET" == posted.path
        assert not re.search("[<>*_`~|#]|\\[|@(?!\u200b)", bare)
        assert len(text) <= 4000


@pytest.mark.parametrize("name", EVIL)
def test_matrix_gets_plain_text(name: str) -> None:
    """No HTML beside it, and nobody called; its room is joined and none is made."""
    with hook(body=b'{"room_id": "!r:h", "user_id": "@g:h", "event_id": "$1"}') as (host, asked):
        assert notifier(channels={"ml": f"matrix://SECRET@{host}/!r:h"}).send(named(name, "channel:ml"))

        event = json.loads(asked[-1].body)
        assert {"msgtype", "body"} == event.keys()
        assert not re.search("@(?!\u200b)|://(?!gpuwatch)", event["body"].replace("https://gpuwatch.dev", ""))
        assert "/_matrix/client/v3/rooms/%21r%3Ah/send/m.room.message/" in asked[-1].path
        assert not [each for each in asked if "createRoom" in each.path or "register" in each.path]
        assert {"Bearer SECRET"} == {each.headers["authorization"] for each in asked}


@pytest.mark.parametrize("name", EVIL)
def test_a_program_gets_json(name: str) -> None:
    """With a key that tells it whether it has the letter already; names are on one line, and not escaped."""
    with hook() as (host, asked):
        url = f"json://{host}/path?+X-Team=gpu"
        assert notifier(channels={"ml": url}).send(named(name, "channel:ml"))

        (posted,) = asked
        document = json.loads(posted.body)
        assert ("/path", "gpu") == (posted.path, posted.headers["x-team"])
        assert ("key-1", "key-1") == (posted.headers["idempotency-key"], posted.headers["x-gpuwatch-letter"])
        assert {"version", "title", "message", "attachments", "type"} == document.keys()
        assert 1 == len(document["title"].splitlines())
        assert "\r" not in document["message"]


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ([raised()], "warning"), ([raised(severity="critical")], "failure"), ([over()], "success"),
        ([over(severity="critical"), raised()], "warning"),
    ],
)  # fmt: skip
def test_how_bad_it_is_can_be_seen(changes: list[Any], colour: str) -> None:
    """By a colour, where there are such."""
    with hook() as (host, asked):
        assert notifier(channels={"ml": f"json://{host}"}).send(letter(*changes, recipient="channel:ml"))

        assert colour == json.loads(asked[0].body)["type"]


@pytest.mark.parametrize(
    ("url", "answered", "failure", "why"),
    [
        (SLACK, (404, b"no_service"), Rejected, "hooks.slack.com: answered 404"),
        (SLACK, (410, b"channel_is_archived"), Rejected, "hooks.slack.com: answered 410"),
        (SLACK, (500, b"SECRET"), Unavailable, "hooks.slack.com: answered 500"),
        (SLACK, (429, b""), Unavailable, "hooks.slack.com: answered 429"),
        (BOT, (200, b'{"ok":false,"error":"is_archived"}'), Rejected, "hooks.slack.com: is_archived"),
        (BOT, (200, b'{"ok":false,"error":"token_revoked"}'), Unavailable, "hooks.slack.com: token_revoked"),
        (DISCORD, (404, b""), Rejected, "discord.com: answered 404"),
        (DISCORD, (400, b'{"code": 50035}'), Rejected, "discord.com: answered 400"),
        (DISCORD, (502, b"<html>"), Unavailable, "discord.com: answered 502"),
        (TEAMS, (401, b"SECRET"), Unavailable, "prod-1.example.org: answered 401"),
        (TEAMS, (410, b"disabled"), Rejected, "prod-1.example.org: answered 410"),
    ],
)  # fmt: skip
def test_what_a_chat_answers_says_whether_another_try_helps(
    chats: ChatServers, caplog: pytest.LogCaptureFixture, url: str, answered: tuple[int, bytes],
    failure: type[Exception], why: str,
) -> None:  # fmt: skip
    """By status, without a word of the address or the answer."""
    chats.answer = lambda _posted: answered

    with caplog.at_level(0), pytest.raises(failure) as found:
        notifier(channels={"ml": url}).send(letter(recipient="channel:ml"))
    assert f"channel:ml: {why}" == str(found.value)
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("status", "failure"), [(403, Unavailable), (404, Rejected), (500, Unavailable), (302, Unavailable)]
)
@pytest.mark.parametrize("schema", ["mmost", "matrix", "json"])
def test_servers_of_a_site_are_understood_as_well(schema: str, status: int, failure: type[Exception]) -> None:
    """Whatever each of them is called."""
    path = {"mmost": "{}/SECRET", "matrix": "SECRET@{}/!r:h", "json": "{}/SECRET"}[schema]
    with hook(status) as (host, _asked), pytest.raises(failure) as found:
        notifier(channels={"ml": f"{schema}://{path.format(host)}"}).send(letter(recipient="channel:ml"))

    assert str(found.value).startswith(f"channel:ml: 127.0.0.1: answered {status}")
