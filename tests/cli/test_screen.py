"""Keys as terminals send them."""

from __future__ import annotations

from gpuwatch.cli.screen import keys_in


def test_what_is_read_at_once_is_keys_one_by_one() -> None:
    """Arrows, characters of every script, the escape key; what nobody knows is no key."""
    assert ["f", "é", "<enter>", "<up>", "<down>", "q"] == keys_in("fé\r\x1b[A\x1bOBq")
    assert ["<escape>"] == keys_in("\x1b")
    assert ["<page down>"] == keys_in("\x1b[1;5C\x1b[6~\x1b[200~")
