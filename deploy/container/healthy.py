"""Whether the daemon of this container is well: its main loop, by /-/healthy. Exit code 0 or 1, and then a line.

Arguments are ports; without any, those of the agent and of accounting, of which one must answer. A daemon that
asks for a certificate or a user answers too: who is asked for them has been heard.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Sequence
from contextlib import closing

SECONDS = 4.0


def main(arguments: Sequence[str]) -> int:
    """Ask one port after the other."""
    told = []
    for port in [int(each) for each in arguments] or [9838, 9839]:
        wrong = asked(port)
        if not wrong:
            return 0
        told.append(f"port {port}: {wrong}")
    print("; ".join(told), file=sys.stderr)
    return 1


def asked(port: int) -> str:
    """What is wrong with the daemon at a port; empty where it is well."""
    try:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
                return _verdict(connection)
        except (http.client.HTTPException, ConnectionResetError):
            return _by_tls(port)
    except (OSError, http.client.HTTPException) as exc:
        return str(exc) or type(exc).__name__


def _by_tls(port: int) -> str:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=_unverified())
    heard = False
    try:
        connection.connect()
        heard = True
        return _verdict(connection)
    except (ConnectionError, ssl.SSLError, http.client.HTTPException) as exc:
        # Cut after the handshake, or by an alert: it wants a certificate.
        return "" if heard or "ALERT" in str(getattr(exc, "reason", "")) else str(exc)
    finally:
        connection.close()


def _verdict(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/-/healthy")
    status = connection.getresponse().status
    return f"it answers {status}" if status >= 500 else ""


def _unverified() -> ssl.SSLContext:
    """It is asked on loopback, and nothing is told: the certificate need not name the address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
