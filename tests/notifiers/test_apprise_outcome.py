"""What became of a letter, by what Apprise logged; that log is in ours never."""

from __future__ import annotations

import logging
import threading

import pytest

from gpuwatch.notifiers.apprise_outcome import TAKEN, Outcome, listening, outcome_of, silence

CONNECTING = 'Connection error while submitting email to "mail.example.org"'
SENDING = 'Sending email to "bob@example.org" failed.'


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (["Failed to send: error=404."], Outcome("rejected", "answered 404")),
        (["Failed to send: Bad Request, error=400."], Outcome("rejected", "answered 400")),
        (["Failed to send: error=410."], Outcome("rejected", "answered 410")),
        (["Failed to send: error=401."], Outcome("later", "answered 401")),
        (["Failed to send: error=500."], Outcome("later", "answered 500")),
        (["Failed to send: error=429."], Outcome("away", "answered 429")),
        (["Failed to send: error=503."], Outcome("away", "answered 503")),
        (["Failed to send: error=302."], Outcome("later", "answered 302; a redirect is not followed")),
        (["Matrix Response: code=200, {}", "Matrix Response: code=502, <html>"], Outcome("later", "answered 502")),
        (["error=200.", 'Response:\r\nb\'{"ok":false,"error":"channel_not_found"}\''],
         Outcome("rejected", "channel_not_found")),
        (["error=200.", 'Response:\r\nb\'{"ok":false,"error":"invalid_auth"}\''],
         Outcome("later", "invalid_auth")),
        (["error=200."], Outcome("later", "it said that it did not take it")),
        (["Socket Exception: {'bob@example.org': (550, b'5.1.1 no such user')}", SENDING],
         Outcome("rejected", "answered 550 5.1.1 no such user")),
        (["Socket Exception: {'bob@example.org': (451, b'grey\\nlisted')}", SENDING],
         Outcome("later", "answered 451 grey listed")),
        (["Socket Exception: (554, b'no spam')", SENDING], Outcome("rejected", "answered 554 no spam")),
        (["Socket Exception: (452, b'full')", SENDING], Outcome("later", "answered 452 full")),
        (["Socket Exception: (550, b'who', 'gpuwatch@example.org')", SENDING],
         Outcome("later", "answered 550 who")),
        ([CONNECTING, "Socket Exception: (535, b'5.7.8 bad credentials')"],
         Outcome("away", "answered 535 5.7.8 bad credentials")),
        ([CONNECTING, "Socket Exception: Connection unexpectedly closed"],
         Outcome("away", "closed without an answer")),
        ([CONNECTING, "Socket Exception: [Errno 111] Connection refused"], Outcome("away", "connection refused")),
        ([CONNECTING, "Socket Exception: timed out"], Outcome("away", "no answer in time")),
        (["There are no Email recipients to notify"], Outcome("rejected", "not an address of mail")),
        (["HTTPSConnectionPool(host='h'): /services/SECRET (Caused by SSLError(CERTIFICATE_VERIFY_FAILED"],
         Outcome("away", "its certificate is not one to trust")),
        (["/SECRET (Caused by ProxyError('Cannot connect to proxy.'"],
         Outcome("away", "the proxy did not let it through")),
        (["something new about SECRET"], Outcome("away", "not reached")),
        ([], Outcome("later", "Apprise did not say why")),
    ],
)  # fmt: skip
def test_the_reason_is_found(lines: list[str], outcome: Outcome) -> None:
    """Nothing of an address is in it."""
    assert outcome == outcome_of(False, lines)
    assert "SECRET" not in outcome.why


def test_what_was_taken_was_taken() -> None:
    """Whatever the log says."""
    assert TAKEN == outcome_of(True, ["error=500"])


def test_what_a_mail_server_says_is_short_and_one_line() -> None:
    """It is written by somebody else."""
    outcome = outcome_of(False, ["Socket Exception: {'b@c.d': (550, b'" + "x" * 1500 + "\x1b[31m')}", SENDING])

    assert len(outcome.why) <= 170
    assert outcome.why.isprintable()


def test_only_the_thread_that_listens_hears(caplog: pytest.LogCaptureFixture) -> None:
    """Two letters at once have each its own reason, and nobody else hears any."""
    silence()
    logger = logging.getLogger("apprise")

    with caplog.at_level(logging.DEBUG), listening() as lines:
        other = threading.Thread(target=logger.warning, args=("SECRET elsewhere",))
        other.start()
        other.join()
        logger.warning("SECRET %s", "here")
        logging.getLogger("urllib3.connectionpool").debug("POST /SECRET")
    logger.warning("SECRET later")

    assert ["SECRET here"] == lines
    assert "SECRET" not in caplog.text


def test_other_users_of_urllib3_still_log(caplog: pytest.LogCaptureFixture) -> None:
    """It is hushed while a letter is sent, in that thread."""
    silence()

    # Other libraries set the level of its loggers.
    with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
        logging.getLogger("urllib3.connectionpool").debug("GET /api")
    assert "GET /api" in caplog.text
