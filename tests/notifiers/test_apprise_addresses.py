"""Whom a word reaches, and that no name of a job's owner chooses where a letter goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.notifiers.apprise_addresses import Addresses, schema_of
from tests.notifiers.letters import alert, over

ALL = Addresses(
    owner=("mailto://mail?to={user}@example.org",),
    account=("mailto://mail?to={account}-pi@example.org",),
    operators=("mailto://mail?to=ops@example.org",),
    people={"carol": ("slack://C",), "bob@example.org": ("slack://B",)},
    accounts={"speech": ("slack://S",)},
    channels={"ml": ("slack://ML",), "ops-again": ("mailto://mail?to=ops@example.org",)},
)


def told(to: set[str], user: str = "alice", addresses: Addresses = ALL) -> list[str]:
    return list(addresses.recipients(alert(user=user), to, "hydra"))


def test_each_word_of_a_policy_has_its_recipient() -> None:
    """In one order, whatever the policy's."""
    expected = ["user:alice", "account:vision", "operators", "channel:ml"]

    assert expected == told({"ml", "operators", "account", "owner", "unheard-of"})


def test_a_recipient_is_found_again_by_his_word() -> None:
    """Also after a restart; those with addresses of their own by these."""
    assert ("mailto://mail?to=alice@example.org",) == ALL.of("user:alice", "hydra")
    assert ("slack://C",) == ALL.of("user:carol", "hydra")
    assert ("slack://S",) == ALL.of("account:speech", "hydra")
    assert () == ALL.of("channel:gone", "hydra")
    assert () == ALL.of("nonsense", "hydra")


def test_nobody_is_told_twice() -> None:
    """A channel that is the operators' address is left out beside them, and told without them."""
    assert ["operators"] == told({"operators", "ops-again"})
    assert ["channel:ops-again"] == told({"ops-again"})


def test_without_a_user_the_owner_is_nobody() -> None:
    """As for a campaign of several people."""
    assert [] == told({"owner"}, user="")
    assert [] == told({"owner"}, addresses=Addresses())


@pytest.mark.parametrize(
    "user",
    [
        "a@evil.example", "a,b", "a b", "a&cc=b", "a?x=1", "a/../b", "..", "a..b", "-a", "a.", "a%40b", "a\nb",
        "ä", "a" * 65, "#a", "a:b", "{account}",
    ],
)  # fmt: skip
def test_a_name_that_is_no_ordinary_one_has_no_address(user: str) -> None:
    """It could be another host, a second recipient or a parameter."""
    assert [] == told({"owner"}, user=user)


def test_people_with_other_names_can_be_given_addresses() -> None:
    """As those that are addresses of mail; the name goes into no address then."""
    assert ["user:bob@example.org"] == told({"owner"}, user="bob@example.org")


@given(st.text(max_size=70))
def test_a_name_is_itself_between_what_the_template_has(user: str) -> None:
    """Or nobody is told."""
    found = ALL.of(f"user:{user}", "hydra")

    assert found in ((), (f"mailto://mail?to={user}@example.org",), ("slack://C",), ("slack://B",))
    assert all(len(f"user:{user}") <= 200 for _ in found)


def test_the_cluster_can_be_part_of_an_address() -> None:
    """Encoded, as everything that is put in."""
    addresses = Addresses(owner=("json://hook/{cluster}/{user}",))

    assert ("json://hook/hydra%20%2F2/alice",) == addresses.of("user:alice", "hydra /2")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("mailto://mail?to=x@example.org", "owner: has no {user}: everybody's letters would go to one place; "
         "name that as operators or a channel"),
        ("mailto://{user}.example.org?to=x", "owner: has a placeholder where the host is; names may not choose "
         "where letters go"),
        ("mailto://m?to={user}&cc={account}", "owner: has a placeholder {account}; there is: {user}, {cluster}"),
    ],
)  # fmt: skip
def test_a_template_says_what_is_wrong_with_it(url: str, wrong: str) -> None:
    """Without its address."""
    assert [wrong] == list(Addresses(owner=(url,)).mistakes())


@pytest.mark.parametrize("name", ["owner", "operators", "a b", "", "x" * 101])
def test_channels_have_names_of_their_own(name: str) -> None:
    """A policy could not tell them from people otherwise."""
    (wrong,) = Addresses(channels={name: ("slack://x",)}).mistakes()

    assert wrong.startswith(f"channels: {name[:100]!r} cannot be the name of a channel; it must be letters")


def test_addresses_are_in_no_representation() -> None:
    """They have secrets."""
    assert "slack" not in repr(ALL)
    assert "slack" not in repr(list(ALL.samples("hydra")))
    assert ["owner", "account", "operators", "people.carol", "people.bob@example.org", "accounts.speech",
            "channels.ml", "channels.ops-again"] == [each.key for each in ALL.samples("hydra")]  # fmt: skip


def test_schemas_that_are_not_for_letters_are_none() -> None:
    """Whatever Apprise knows."""
    assert ["mailto", "slack", "", "", ""] == [
        schema_of(url) for url in ("mailto://x", "SLACK://x", "file:///etc/passwd", "exec://x", "slack")
    ]
    assert over().what == "resolved"
