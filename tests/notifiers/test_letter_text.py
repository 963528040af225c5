"""What a letter says, and that it is never longer than its channel takes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.notifiers.base import Change
from gpuwatch.notifiers.letter_dialects import CHAT, COMMONMARK, DISCORD, HTML, PLAIN, Dialect
from gpuwatch.notifiers.letter_text import MOST_BYTES, Look, write
from tests.notifiers.letters import NOW, TEXT, alert, details, letter, named, over, raised

LOOK = Look("hydra", "gpuwatch", "https://gpuwatch.example.org", "https://wiki.example.org/runbooks/")
DIALECTS = (PLAIN, CHAT, DISCORD, COMMONMARK, HTML)


def body(*changes: Change, recipient: str = "user:alice", more: int = 0) -> str:
    return write(letter(*changes, recipient=recipient, more=more), LOOK).body


def test_one_alert_reads_like_a_letter() -> None:
    """All that is known of it, then why it came and how to have no more of it."""
    expected = """\
On hydra, as of Mon 24 Nov 2025, 16:00 UTC: job 4711 (llama-ft) will use 60 % more energy than declared.


WILL USE MORE THAN DECLARED
https://wiki.example.org/runbooks/GpuwatchOverrunProjected

* job 4711 (llama-ft), since 24 Nov, 15:00 UTC
    is projected to need 720 kWh of energy (80 % between 640 and 810), 60 % more than the
      450 declared
    212 used
    because: 34 % of 9,000 steps done in 14 h
    record: 17 of 19 such alerts were right here

--\x20
You get this because it is about what alice runs on hydra.
However many alerts there are, they come in a few letters a day at most.
To see the figures: gpuwatch show 4711
To hear no more of it: gpuwatch alerts mute job:4711 --reason WHY
To see all that is open: gpuwatch alerts list
The same in a browser: https://gpuwatch.example.org"""

    assert expected == body(raised())


def test_details_are_told_line_by_line() -> None:
    """Below the sentence that says it all, in place of the rest of the text."""
    told = body(raised(details=details("4711")))

    sentence, *lines = told.partition("UTC\n    ")[2].split("\n    ")[:8]
    assert sentence.startswith("is projected to need 720 kWh")
    assert lines[0] == "  450 declared"
    assert list(details("4711")) == [line.partition("\n")[0] for line in lines[1:]]
    assert "because:" not in told
    assert "To see the figures" not in told


def test_commands_with_a_name_that_is_none_are_left_out() -> None:
    """They are there to be copied."""
    told = body(raised(name="x; rm -rf ~", details=details("x; rm -rf ~")))

    assert "such alerts here: 17 of 19 were right" in told
    assert "gpuwatch show" not in told
    assert "gpuwatch declare" not in told


def test_new_worse_and_over_are_told_apart() -> None:
    """In one group what is over comes last, and with what it was."""
    told = body(
        over(name="1", text="job 1 is projected to need 720 kWh; 212 used"),
        raised(name="2"),
        Change("changed", alert(name="3", severity="critical")),
    )

    assert "3 alerts about your jobs on hydra, as of Mon 24 Nov 2025, 16:00 UTC: 1 new, 1 worse, 1 over." in told
    assert "* worse: job 3 (llama-ft), now critical, since" in told
    assert "* over: job 1 (llama-ft)\n    the job ended\n    last known: is projected to need 720 kWh\n" in told
    assert told.index("* job 2 ") < told.index("* worse: job 3 ") < told.index("* over: job 1 ")


def test_what_is_over_is_told_as_it_was_last() -> None:
    """With or without why it is."""
    ended = Change("resolved", alert(text="job 4711 used 720 kWh; 60 % more; because: it was slow"))

    assert "* over: job 4711 (llama-ft)\n    last known: used 720 kWh\n    60 % more\n\n" in body(ended)
    assert "    the job ended\n    last known: is projected to need 720 kWh" in body(over())


def test_what_is_over_needs_no_muting() -> None:
    """It is not told again."""
    assert "gpuwatch alerts mute" not in body(over())
    assert "gpuwatch alerts mute" not in write(letter(over()), LOOK, CHAT).body
    assert "gpuwatch alerts mute" in body(over(), more=1)


def test_kinds_come_in_their_order() -> None:
    """With a heading that has their number."""
    told = body(raised("idle", name="1"), raised("made_up", name="2"), raised(name="3"), raised(name="4"))

    headings = [told.index(each) for each in ("WILL USE MORE THAN DECLARED (2)", "HOLDS DEVICES", "MADE UP")]
    assert headings == sorted(headings)
    assert "runbooks/GpuwatchMadeUp" not in told


def test_what_is_left_out_is_counted() -> None:
    """With the command that shows it."""
    told = body(*(raised(name=f"{each}") for each in range(20)), recipient="operators", more=4980)

    assert "5,000 alerts on hydra, as of Mon 24 Nov 2025, 16:00 UTC. The most urgent: 20 new." in told
    assert "\n\nand 4,980 more: gpuwatch alerts list\n" in told


def test_thousands_of_alerts_are_a_short_letter_soon() -> None:
    """The most urgent are told, which come first."""
    changes = [raised(name=f"{each}") for each in range(5000)]

    started = time.process_time()
    told = write(letter(*changes), LOOK)
    assert time.process_time() - started < 5.0
    assert len(told.body.encode()) <= MOST_BYTES
    assert "* job 0 " in told.body
    assert "* job 4999 " not in told.body


@pytest.mark.parametrize(
    ("recipient", "why"),
    [
        ("user:alice", "it is about what alice runs on hydra."),
        ("account:vision", "you look after account vision on hydra."),
        ("operators", "you look after hydra."),
        ("channel:ml", "alerts of hydra are told to the channel ml."),
    ],
)
def test_a_letter_says_why_it_came(recipient: str, why: str) -> None:
    """Nobody has to ask who sends this."""
    assert f"You get this because {why}" in body(recipient=recipient)


def test_others_are_told_whose_it_is() -> None:
    """The owner knows."""
    assert "* job 4711 (llama-ft) of alice, since" in body(raised(), recipient="operators")
    assert "of alice" not in body(raised())


def test_a_long_name_is_cut_wherever_it_stands() -> None:
    """The numbers behind it are what counts."""
    told = write(named("n" * 10_000), LOOK).body

    assert "is projected to need 720 kWh of energy" in told
    assert len(told) < 2000


def test_nothing_to_copy_is_other_than_a_plain_word() -> None:
    """A name with a command in it is not offered to a shell."""
    assert "mute job:ID --reason" in write(named("x; rm -rf ~"), LOOK).body


def test_without_addresses_there_are_none() -> None:
    """A site may have no pages."""
    told = write(letter(), replace(LOOK, page="", runbooks="")).body

    assert "://" not in told


@pytest.mark.parametrize("dialect", DIALECTS, ids=["plain", "chat", "discord", "commonmark", "html"])
@given(
    names=st.lists(st.text(max_size=60), min_size=1, max_size=12),
    texts=st.text(max_size=300),
    room=st.integers(1500, 6000),
    more=st.integers(0, 10_000),
)
def test_a_letter_fits_and_nothing_is_lost(
    dialect: Dialect, names: list[str], texts: str, room: int, more: int
) -> None:
    """What there is no room for is counted with the rest; the subject is one line."""
    changes = [raised(name=name, called=name, text=f"{TEXT} {texts}") for name in names]

    told = write(letter(*changes, more=more), LOOK, dialect, room)
    assert len(told.body.encode()) <= room
    assert len(told.subject.splitlines()) == 1
    shown = sum(told.body.count(f"{sign}job") for sign in ("* ", "• ", "- **", "<li><b>"))
    left = len(names) + more - shown
    assert shown > len(names) or not left or f"and {left:,} more" in told.body


def test_a_time_that_is_none_is_left_out() -> None:
    """Nothing is dated 1970."""
    told = write(replace(letter(Change("raised", replace(alert(), since=0.0))), time=0.0), LOOK).body

    assert "1970" not in told
    assert "since" not in told
    assert NOW > 0
