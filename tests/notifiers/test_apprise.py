"""Letters by mail, read as a real mail server gets them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch import plugins
from gpuwatch.errors import ConfigurationError, Rejected, Unavailable
from gpuwatch.notifiers.apprise import AppriseNotifier
from gpuwatch.notifiers.base import Letter, Personal, Probing
from tests.notifiers.letters import EVIL, alert, letter, named, notifier, over, raised
from tests.notifiers.post_office import MailServer, mail_server


def owner(mail: MailServer, more: str = "") -> str:
    return f"mailto://127.0.0.1:{mail.port}?from=gpuwatch@example.org&to={{user}}@example.org{more}"


def to(mail: MailServer, who: str, more: str = "") -> str:
    return owner(mail, more).format(user=who)


def test_it_is_found_by_its_name() -> None:
    """By the same door as a stranger's, and tells people."""
    built = notifier(operators="json://h")

    assert AppriseNotifier is plugins.load("notifiers", "apprise")
    assert isinstance(built, Personal)
    assert isinstance(built, Probing)
    assert not hasattr(built, "notify")


def test_a_letter_arrives_as_mail() -> None:
    """With what programs need to know that one wrote it, and that it is the same one again."""
    with mail_server() as mail:
        assert notifier(owner=owner(mail)).send(letter(key="2025-11-24/alice/1"))

        (message,) = mail.messages
        assert [["alice@example.org"]] == mail.recipients
        assert "gpuwatch: job 4711 (llama-ft) will use 60 % more energy than declared" == message["Subject"]
        assert ("gpuwatch@example.org", "alice@example.org") == (message["From"], message["To"])
        assert ("auto-generated", "gpuwatch") == (message["Auto-Submitted"], message["X-Application"])
        assert re.fullmatch("[0-9a-f]{64}", message["X-Gpuwatch-Letter"])
        assert re.fullmatch(r"<[^<>\s]+@127\.0\.0\.1>", message["Message-ID"])
        assert message["Date"].datetime is not None
        assert (None, None) == (message["Cc"], message["Bcc"])
        assert "text/plain" == message.get_content_type()
        assert message.get_content().startswith("On hydra, as of Mon 24 Nov 2025, 16:00 UTC: job 4711")


def test_the_key_of_a_letter_is_as_it_is_where_a_header_can_have_it() -> None:
    """Otherwise something that stands for it, always the same."""
    with mail_server() as mail:
        telling = notifier(owner=owner(mail))
        for key in ("a1-b_2", "a b\r\nBcc: x@evil.example", "a b\r\nBcc: x@evil.example", "other\r\n"):
            telling = notifier(owner=owner(mail))
            assert telling.send(letter(key=key))

        keys = [message["X-Gpuwatch-Letter"] for message in mail.messages]
        assert ("a1-b_2", True, False) == (keys[0], keys[1] == keys[2], keys[2] == keys[3])
        assert all(len(each) == 1 for each in mail.recipients)


def test_mail_can_be_html_with_text_beside_it() -> None:
    """Where the address says so."""
    with mail_server() as mail:
        assert notifier(owner=owner(mail, "&format=html")).send(named("<b>&</b>"))

        (message,) = mail.messages
        html, text = message.get_body(("html",)), message.get_body(("plain",))
        assert html is not None
        assert text is not None
        assert "campaign &lt;b&gt;&amp;&lt;/b&gt; of" not in html.get_content()
        assert "<b>campaign &lt;b&gt;&amp;&lt;/b&gt;, since" in html.get_content()
        assert "campaign <b>&</b>, since" in text.get_content()


@pytest.fixture(scope="module")
def post() -> Any:
    with mail_server() as mail:
        yield mail


def fields(message: Any) -> list[str]:
    return sorted(message.keys())


EXPECTED = sorted(
    [
        "Content-Type", "MIME-Version", "Content-Transfer-Encoding", "X-Application", "Auto-Submitted",
        "X-Gpuwatch-Letter", "Subject", "From", "To", "Message-ID", "Date",
    ]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(name=st.text(max_size=80) | st.sampled_from(EVIL), called=st.text(max_size=30))
def test_whatever_the_name_mail_goes_to_its_recipient_alone(post: MailServer, name: str, called: str) -> None:
    """With the headers it always has, and one line of subject."""
    post.envelopes.clear()
    written = letter(raised(name=name, called=called, text=f"job {name} is over; {called}"))

    assert notifier(owner=owner(post)).send(written)
    assert [["alice@example.org"]] == post.recipients
    (message,) = post.messages
    assert EXPECTED == fields(message)
    assert 1 == len(str(message["Subject"]).splitlines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(user=st.text(max_size=70) | st.from_regex(r"[a-z]{1,3}[,;@&?#/%:+ ][a-z@.]{1,12}", fullmatch=True))
def test_whatever_the_user_mail_goes_to_him_or_nobody(post: MailServer, user: str) -> None:
    """No name adds a recipient, a parameter or another host."""
    post.envelopes.clear()
    telling = notifier(owner=owner(post))

    words = list(telling.recipients(alert(user=user), {"owner"}))
    for word in words:
        assert telling.send(letter(recipient=word))
    assert [[f"{user}@example.org"]] * len(words) == post.recipients


def test_a_recipient_who_is_not_there_is_given_up() -> None:
    """With what the server said; others get theirs."""
    with mail_server(refuse={"bob@example.org": "550 5.1.1 no such user"}) as mail:
        telling = notifier(owner=owner(mail))

        with pytest.raises(Rejected, match=r"^user:bob: 127\.0\.0\.1: answered 550 5\.1\.1 no such user$"):
            telling.send(letter(recipient="user:bob"))
        assert telling.send(letter())
        assert [["alice@example.org"]] == mail.recipients


def test_who_may_be_there_later_is_tried_again() -> None:
    """As by a server that lets strangers wait."""
    with mail_server(refuse={"alice@example.org": "451 4.7.1 greylisted"}) as mail:
        telling = notifier(owner=owner(mail))

        with pytest.raises(Unavailable, match=r"^user:alice: 127\.0\.0\.1: answered 451 4\.7\.1 greylisted$"):
            telling.send(letter())
        mail.refuse = {}
        assert telling.send(letter())


def test_a_letter_that_no_server_takes_is_given_up() -> None:
    """It would not be taken tomorrow."""
    with (
        mail_server(refuse_data="554 5.7.1 spam") as mail,
        pytest.raises(Rejected, match=r"answered 554 5\.7\.1 spam"),
    ):
        notifier(owner=owner(mail)).send(letter())


def test_of_several_addresses_each_gets_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """One that has it is not sent it again; one that never takes it stands in nobody's way, and is logged."""
    refuse = {"a@example.org": "451 later", "b@example.org": "550 never"}
    with mail_server(refuse=refuse) as mail:
        telling = notifier(operators=[to(mail, who) for who in "abc"])

        with pytest.raises(
            Unavailable, match=r"^operators: 127.0.0.1: answered 451 later; 127.0.0.1: answered 550"
        ):
            telling.send(letter(recipient="operators"))
        mail.refuse = {"b@example.org": "550 never"}
        assert telling.send(letter(recipient="operators"))
        assert [["c@example.org"], ["a@example.org"]] == mail.recipients
        assert ["letter refused recipient=operators why=127.0.0.1: answered 550 never"] == [
            message for message in caplog.messages if message.startswith("letter")
        ]


def test_another_letter_is_another_one() -> None:
    """What is remembered is the letter, not the recipient."""
    with mail_server() as mail:
        telling = notifier(owner=owner(mail))

        assert all(telling.send(letter(key=key)) for key in ("1", "1", "2"))
        assert ["1", "2"] == [message["X-Gpuwatch-Letter"] for message in mail.messages]


def test_a_letter_that_has_more_news_in_another_try_is_sent_again() -> None:
    """To all: what was told is as it was, and what was not is in nobody else's letter."""
    with mail_server(refuse={"a@example.org": "451 later"}) as mail:
        telling = notifier(operators=[to(mail, who) for who in "ab"])

        for changes in ([raised()], [raised(value=3e9)], [raised(), raised("idle")]):
            with pytest.raises(Unavailable):
                telling.send(letter(*changes, recipient="operators"))
        assert [["b@example.org"], ["b@example.org"]] == mail.recipients


def test_who_has_no_address_any_more_is_given_up() -> None:
    """The configuration changed while a letter waited."""
    with pytest.raises(Rejected, match="channel:gone: has no address any more"):
        notifier(operators="json://h").send(letter(recipient="channel:gone"))


def test_all_that_is_wrong_with_addresses_is_said_at_once() -> None:
    """By key, and without them."""
    with pytest.raises(ConfigurationError) as found:
        notifier(owner="slack://SECRET/{user}", operators="exec://SECRET", channels={"ml": "slack://SECRET"})

    told = [each.partition(";")[0] for each in found.value.mistakes]
    assert [
        "notifiers.apprise.owner: is not an address that Apprise understands as slack://",
        "notifiers.apprise.operators: is not where letters can go",
        "notifiers.apprise.channels.ml: is not an address that Apprise understands as slack://",
    ] == told
    assert "SECRET" not in str(found.value)


def test_somebody_must_be_named() -> None:
    """A notifier for nobody is a mistake."""
    with pytest.raises(ConfigurationError, match="owner: nobody is named; there is: owner, account, operators"):
        notifier()


def test_many_letters_take_no_pauses() -> None:
    """Apprise would wait five seconds between two of them."""
    with mail_server() as mail:
        telling = notifier(owner=owner(mail))

        started = time.monotonic()
        for number in range(40):
            assert telling.send(letter(recipient=f"user:u{number}", key=f"{number}"))
        assert time.monotonic() - started < 60.0
        assert 40 == len(mail.envelopes)


def test_a_long_letter_is_whole() -> None:
    """Thousands of alerts are one mail of a bounded size."""
    with mail_server() as mail:
        changes = tuple(raised(name=f"{each}") for each in range(3000))
        assert notifier(owner=owner(mail)).send(Letter("k", "user:alice", (*changes, over()), 1.7e9))

        (message,) = mail.messages
        assert len(message.get_content().replace("\r\n", "\n").encode()) <= 64_001
        assert message.get_content().rstrip().endswith("gpuwatch alerts list")
