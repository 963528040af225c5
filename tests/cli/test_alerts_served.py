"""The policy that the API explains alerts by is that of the accounting that serves it."""

from __future__ import annotations

from pathlib import Path

from gpuwatch import config
from gpuwatch.cli.accounting import ROOMS, Accounting
from gpuwatch.cli.api_client import ApiClient
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import open_store
from tests.ledger.alerted import alert, ended, raised


def test_accounting_serves_alerts_by_its_own_policy(tmp_path: Path) -> None:
    """At its socket, where the kernel says who asks."""
    path = tmp_path / "g.toml"
    path.write_text(
        f'[accounting]\nlisten = "127.0.0.1:0"\nledger = "sqlite:///{tmp_path}/ledger.db"\nusage = ["none"]\n'
        f'socket = "{tmp_path}/api.sock"\nschedulers = []\n[alerts]\ntell = ["limit"]\n'
    )
    store = open_store(str(tmp_path / "ledger.db"))
    raised(store, [(alert("job:7"), "told")], 1000.0)
    ended(store, key_of(alert("job:7")), 2000.0)
    store.close()

    with Accounting(config.load(path, {}, ROOMS)) as accounting:
        client = ApiClient(str(tmp_path / "api.sock"))
        (over,) = client.get("/alerts/7")["alerts"]
        assert (("limit",), "right") == (accounting.daemon.alert_policy.tell[0].kinds, over["verdict"])
        made = client.post(
            "/mutes", **{"scope": "user:ada", "kind": "", "quantity": "", "for": "1d", "reason": "x"}
        )
        assert 1 == made["mute"]["number"]
