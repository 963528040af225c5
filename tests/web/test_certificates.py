"""From when to when a certificate is valid, and what is said of one that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.web.certificates import Validity, validity_of

ISSUED = trustme.CA().issue_cert(
    "gw0.example.org",
    not_before=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    not_after=datetime(2051, 6, 7, 8, 9, 10, tzinfo=UTC),
)
PEM = ISSUED.cert_chain_pems[0].bytes().decode()


def test_both_forms_of_time_are_read() -> None:
    """Two digits of the year until 2049, four after it."""
    expected = Validity(
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp(),
        datetime(2051, 6, 7, 8, 9, 10, tzinfo=UTC).timestamp(),
    )

    assert expected == validity_of(PEM)


def test_the_first_certificate_counts() -> None:
    """It is the server's own; those of authorities follow it."""
    other = trustme.CA().cert_pem.bytes().decode()

    assert validity_of(PEM) == validity_of("Bag Attributes\n" + PEM + other)


def test_a_moment_is_within_or_without() -> None:
    """The ends belong to it."""
    assert [False, True, True, False] == [Validity(10, 20).includes(now) for now in (9, 10, 20, 21)]


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", ISSUED.private_key_pem.bytes().decode(), PEM[:200]],
    ids=["nothing", "nonsense", "a key", "the begin of one"],
)
def test_a_file_without_a_certificate_is_said_to_have_none(text: str) -> None:
    """Half a file, a key in its place, nothing."""
    with pytest.raises(ValueError, match="has no certificate"):
        validity_of(text)


@given(st.integers(0, len(PEM) - 60), st.binary(min_size=1, max_size=8))
def test_a_damaged_certificate_is_read_or_refused(at: int, noise: bytes) -> None:
    """Never another exception than ValueError."""
    damaged = PEM[: at + 28] + noise.hex() + PEM[at + 28 :]

    try:
        validity_of(damaged)
    except ValueError as exc:
        assert "certificate" in str(exc)
