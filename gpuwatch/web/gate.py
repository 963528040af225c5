"""Who may ask accounting, as the configuration says: the proofs of identity that are taken, and the roles."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.settings import AccountingSettings, Settings
from gpuwatch.web.authentication import Passwords
from gpuwatch.web.basic_proof import BasicProof
from gpuwatch.web.desk import Gate
from gpuwatch.web.identity import Identity, Proof
from gpuwatch.web.jwt_proof import JwtProof, key_in
from gpuwatch.web.munge_proof import MungeProof
from gpuwatch.web.names import Names, UnixNames
from gpuwatch.web.peer_proof import PeerProof
from gpuwatch.web.proxy_proof import ProxyProof
from gpuwatch.web.roles import Access
from gpuwatch.web.security import Security
from gpuwatch.web.threads import Patient

CHECKS = 4
"""So many credentials are checked at once."""


def gate_of(settings: Settings, security: Security, passwords: Passwords, names: Names | None = None) -> Gate:
    """The gate that the configuration asks for; what a request says by itself comes before whence it comes.

    Raises `ConfigurationError` for a key that cannot be read, or a program that is not there.
    """
    accounting = settings.accounting
    _check(accounting)
    threads = Patient(CHECKS)
    proofs: list[Proof] = []
    if accounting.slurm_jwt_key_file is not None:
        proofs.append(JwtProof(accounting.slurm_jwt_key_file, threads))
    if accounting.unmunge:
        proofs.append(MungeProof(accounting.unmunge, threads))
    proofs.append(BasicProof(security, passwords))
    if accounting.proxy_user_header:
        proofs.append(ProxyProof(accounting.proxy_user_header, accounting.proxies))
    socket = socket_of(settings)
    if socket is not None:
        proofs.append(PeerProof(str(socket)))
    return Gate(Identity(proofs), names or UnixNames(), access_of(settings), accounting.groups)


def _check(accounting: AccountingSettings) -> None:
    mistakes: list[str] = []
    if accounting.slurm_jwt_key_file is not None:
        try:
            key_in(accounting.slurm_jwt_key_file)
        except Unavailable as exc:
            mistakes.append(f"accounting.slurm_jwt_key_file: {exc}")
    if accounting.unmunge and shutil.which(accounting.unmunge) is None:
        mistakes.append(f"accounting.unmunge: {accounting.unmunge!r} is no program that can be run")
    if mistakes:
        raise ConfigurationError(mistakes)


def access_of(settings: Settings) -> Access:
    """Who has which role."""
    access = settings.access
    return Access(settings.site.cluster, access.admins, access.support, access.coordinators)


def socket_of(settings: Settings) -> Path | None:
    """Where the unix socket is; the default one only where the service manager has made its directory."""
    path = settings.accounting.socket
    if not path:
        return None
    is_chosen = settings.says("accounting", "socket")
    return Path(path) if is_chosen or Path(path).parent.is_dir() else None
