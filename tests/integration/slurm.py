"""A real Slurm of one host: controller, database and three nodes of four GPUs each, on free loopback ports.

Nothing is installed, and nothing outside of its folder is touched but the control groups of its own nodes. It is
seven daemons: munged, mariadbd, slurmdbd, slurmctld and three slurmd, which Debian builds for several on one host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.debian import REPOSITORY, STOP_SECONDS, UNPACKED, binary, free_port, stop, wait_until

GPUS = 4
NODES = 3
CGROUPS = Path("/sys/fs/cgroup")
START_SECONDS = 20.0
_DAEMONS = ("slurmctld-wlm", "slurmd-wlm", "slurmstepd-wlm")
"""As Debian names them. They must be called without the suffix: it is by its name that each knows what it is."""

CLIENTS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "sreport", "sshare")
NEEDED = ("munged", "mariadbd", "slurmdbd", *_DAEMONS, *CLIENTS)
"""The programs without which there is no Slurm; all are of Debian's packages."""

DEPLOY = REPOSITORY / "deploy" / "slurm"

_SLURM_CONF = """\
ClusterName=gwtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
PluginDir={plugins}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/{tracking}
TaskPlugin=task/{task}
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu,tpu
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmctldTimeout=30
SlurmdTimeout=60
MessageTimeout=10
InactiveLimit=0
PriorityCalcPeriod=1
KillWait=2
MinJobAge=2
JobRequeue=1
PrologFlags=Alloc,Contain
Prolog={folder}/bin/prolog
Epilog={folder}/bin/epilog
TaskProlog={folder}/bin/task-prolog
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
AccountingStoragePass={folder}/munge.socket
PriorityType=priority/multifactor
AccountingStorageTRES=gres/gpu,gres/tpu
AccountingStoreFlags=job_comment
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs=8 Sockets=1 CoresPerSocket=8 \
ThreadsPerCore=1 RealMemory=4000 Gres=gpu:h100:{gpus},tpu:v5e:{gpus} State=UNKNOWN
PartitionName=gpu Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
"""

_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PluginDir={plugins}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommunicationParameters=NoInAddrAny
"""

_CGROUP_CONF = """\
CgroupMountpoint=/sys/fs/cgroup
CgroupPlugin=cgroup/v1
ConstrainDevices=yes
ConstrainCores=no
ConstrainRAMSpace=no
"""


def missing() -> str:
    """Why there can be no Slurm here; empty where there can be one."""
    absent = [name for name in NEEDED if binary(name) is None]
    if absent:
        return f"no {', '.join(absent)}; `sh tests/integration/packages.sh` says why"
    if os.geteuid() != 0:
        return "slurmd starts jobs, tells who made them and sets their control groups: only as root"
    return ""


def _root(name: str) -> Path:
    """Where the files of a program's package are."""
    found = binary(name)
    return UNPACKED if found is not None and found.is_relative_to(UNPACKED) else Path("/")


def has_cgroups() -> bool:
    """Whether job control groups of version 1 can be made here."""
    return all(
        os.access(CGROUPS / controller, os.W_OK) for controller in ("devices", "freezer", "cpuset", "memory")
    )


@dataclass(frozen=True, slots=True)
class Daemon:
    """How a daemon is started: again, where it has been stopped."""

    command: tuple[str, ...]
    variables: Mapping[str, str]


class Slurm:
    """The cluster `gwtest`. A context manager: within it all nodes are idle, after it nothing is left.

    `nodes` has the names of its nodes; they begin with `prefix`, by which their control groups are known. In
    `folder` are `bin`, where its commands are, `dev` with `gpu0` to `gpu3` and `accel0` to `accel3`, which have no
    driver, and `maps` and `jobs`, which the prolog writes. A node's task prolog looks for its agent in `sockets`.
    Where there are control groups (`controls_devices`), jobs may open their own devices only.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self.maps, self.jobs, self.sockets = folder / "maps", folder / "jobs", folder / "sockets"
        self.nodes = tuple(f"{prefix}{number}" for number in range(NODES))
        self.controls_devices = has_cgroups()
        self.controller_port = free_port()
        self._plugins = next(_root("slurmd-wlm").glob("usr/lib/*/slurm-wlm"))
        own = {"SLURM_CONF": str(folder / "slurm.conf")}
        if UNPACKED in self._plugins.parents:
            own["LD_LIBRARY_PATH"] = f"{self._plugins.parent}:{self._plugins}"
        self._own = tuple(own)
        self.variables = {**os.environ, **own}
        self._daemons: dict[str, Daemon] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Slurm:
        self._write()
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _write(self) -> None:
        for name in ("bin", "dev", "state", "spool", "log", "maps", "jobs", "sockets"):
            (self.folder / name).mkdir(parents=True)
        for index in range(GPUS):
            os.mknod(self.folder / "dev" / f"gpu{index}", 0o20666, os.makedev(240, index))
            os.mknod(self.folder / "dev" / f"accel{index}", 0o20666, os.makedev(241, index))
        for name in _DAEMONS:
            (self.folder / "bin" / name.removesuffix("-wlm")).symlink_to(self._program(name))
        for name in CLIENTS:
            variables = " ".join(f"{key}='{self.variables[key]}'" for key in self._own)
            self._script(name, f'exec env {variables} {self._program(name)} "$@"')
        places = f"export GPUWATCH_MAP_DIRECTORY={self.maps} GPUWATCH_JOBS_DIRECTORY={self.jobs}"
        for name in ("prolog", "epilog"):
            self._script(name, f"{places}; exec sh {DEPLOY / name}.sh")
        socket_of_node = f"export GPUWATCH_SOCKET={self.sockets}/$SLURMD_NODENAME"
        self._script("task-prolog", f"{places}; {socket_of_node}; exec sh {DEPLOY / 'task-prolog'}.sh")
        host = socket.gethostname().partition(".")[0]
        values = {
            "folder": self.folder,
            "host": host,
            "plugins": self._plugins,
            "nodes": f"{self.prefix}[0-{NODES - 1}]",
            "gpus": GPUS,
            "controller_port": self.controller_port,
            "database_port": free_port(),
            "node_ports": ",".join(str(free_port()) for _ in self.nodes),
            "tracking": "cgroup" if self.controls_devices else "linuxproc",
            "task": "cgroup" if self.controls_devices else "none",
        }
        gres = "".join(
            f"NodeName={values['nodes']} Name={name} Type={kind} File={self.folder}/dev/{file}[0-{GPUS - 1}]\n"
            for name, kind, file in (("gpu", "h100", "gpu"), ("tpu", "v5e", "accel"))
        )
        texts = {"slurm": _SLURM_CONF, "slurmdbd": _SLURMDBD_CONF, "cgroup": _CGROUP_CONF}
        for name, text in texts.items():
            (self.folder / f"{name}.conf").write_text(text.format(**values))
        (self.folder / "gres.conf").write_text(gres)
        (self.folder / "slurmdbd.conf").chmod(0o600)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)

    def _script(self, name: str, line: str) -> None:
        script = self.folder / "bin" / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)

    def _program(self, name: str) -> str:
        ours = self.folder / "bin" / name
        found = ours if ours.exists() else binary(name)
        assert found is not None, name
        return str(found)

    def _start_all(self) -> None:
        configuration = str(self.folder / "slurm.conf")
        munge = [f"--{name}-file={self.folder / f'munge.{name}'}" for name in ("key", "pid", "seed", "log")]
        self._define("munged", "--foreground", "--force", f"--socket={self.folder / 'munge.socket'}", *munge)
        self._define("mariadbd", *self._database_options(), "--skip-networking", "--skip-grant-tables")
        self._define("slurmdbd", "-D")
        self._define("slurmctld", "-D", "-f", configuration)
        self._create_database()
        for name in ("munged", "mariadbd", "slurmdbd", "slurmctld"):
            self.start(name)
        for node in self.nodes:
            stepd = self._program("slurmstepd")
            self._define(node, "-D", "-f", configuration, "-N", node, "-d", stepd, program="slurmd")
            self.start(node)
        wait_until(lambda: self._idle() == NODES, START_SECONDS, "all nodes are idle")

    def _database_options(self) -> list[str]:
        return [
            "--no-defaults",
            "--user=root",
            f"--datadir={self.folder / 'mariadb'}",
            f"--socket={self.folder / 'mariadb.socket'}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            f"--lc-messages-dir={_root('mariadbd') / 'usr/share/mysql'}",
            f"--plugin-dir={_root('mariadbd') / 'usr/lib/mysql/plugin'}",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=4M",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def _create_database(self) -> None:
        """What mariadb-install-db does, but for its questions to an installed server."""
        (self.folder / "mariadb").mkdir()
        scripts = _root("mariadbd") / "usr/share/mysql"
        parts = (
            scripts / f"mysql_{name}.sql" for name in ("system_tables", "performance_tables", "system_tables_data")
        )
        statements = "create database mysql;\nuse mysql;\n" + "".join(part.read_text() for part in parts)
        command = [self._program("mariadbd"), *self._database_options(), "--bootstrap"]
        done = subprocess.run(
            command, input=statements, env=self.variables, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def _define(self, name: str, *arguments: str, program: str = "") -> None:
        variables = {**self.variables, "MYSQL_UNIX_PORT": str(self.folder / "mariadb.socket")}
        self._daemons[name] = Daemon((self._program(program or name), *arguments), variables)

    def start(self, name: str) -> None:
        """Start munged, mariadbd, slurmdbd, slurmctld, or the slurmd of a node by the node's name; wait for it."""
        daemon = self._daemons[name]
        with (self.folder / "log" / name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                daemon.command,
                cwd=self.folder,
                env=daemon.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self._ready(name), START_SECONDS, f"{name} is ready")

    def stop(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """End a daemon; slurmd may not hear of it while it looks for its controller, and is killed then."""
        stop(self._running.pop(name), seconds)

    def _ready(self, name: str) -> bool:
        self._check_alive()
        match name:
            case "munged":
                return (self.folder / "munge.socket").is_socket()
            case "mariadbd":
                return (self.folder / "mariadb.socket").is_socket()
            case "slurmdbd":
                return self.answers("sacctmgr", "-nP", "show", "tres")
            case "slurmctld":
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", self.controller_port)) == 0
        return True

    def _check_alive(self) -> None:
        for name, process in self._running.items():
            log = self.folder / "log" / name
            assert process.poll() is None, f"{name} ended with {process.returncode}: {log.read_text()[-2000:]}"

    def _idle(self) -> int:
        self._check_alive()
        return len(self.says("sinfo", "-hN", "-t", "idle", "-o", "%N").split())

    def says(self, *command: str, stdin: str = "") -> str:
        """What a command of Slurm prints; fails where it fails, or takes longer than 20 seconds."""
        done = subprocess.run(
            [self._program(command[0]), *command[1:]],
            env=self.variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def answers(self, *command: str) -> bool:
        """Whether a command of Slurm ends well."""
        try:
            self.says(*command)
        except (AssertionError, subprocess.TimeoutExpired):
            return False
        return True

    def submit(self, script: str, *options: str) -> str:
        """The id of a job that runs a shell script; its output is dropped and its time limit ten minutes."""
        usual = ("--parsable", "--output=/dev/null", "--chdir=/", "--time=10")
        return self.says("sbatch", *usual, *options, stdin=f"#!/bin/sh\n{script}\n").strip()

    def states(self) -> dict[str, str]:
        """The state of each job that the controller still knows, by what users call the job."""
        return dict(line.split() for line in self.says("squeue", "-har", "-t", "all", "-o", "%i %T").splitlines())

    def wait_for(self, job: str, *states: str, seconds: float = 20.0) -> None:
        """Return once a job is in one of the states; "" is that of a job which the controller has forgotten."""
        wait_until(lambda: self.states().get(job, "") in states, seconds, f"job {job} is {' or '.join(states)}")

    def processes(self, job: str, node: str) -> list[int]:
        """The processes of a job's script on a node once there are any, as Slurm lists them, without its own."""

        def listed() -> list[int]:
            if not self.answers("scontrol", "listpids", job, node):
                return []
            rows = (line.split() for line in self.says("scontrol", "listpids", job, node).splitlines()[1:])
            return [int(pid) for pid, _, step, local, *_ in rows if step == "batch" and local != "-"]

        found: list[int] = wait_until(listed, START_SECONDS, f"job {job} runs something on {node}")
        return found

    def leftovers(self) -> list[int]:
        """What its jobs run, and what of Slurm looks after them: it stands where its daemon was started."""
        found: set[int] = set()
        for file in CGROUPS.glob(f"*/slurm_{self.prefix}*/**/cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(line) for line in file.read_text().split()}
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.folder:
                    found.add(int(link.parent.name))
        return sorted(found - {os.getpid()})

    def __exit__(self, *_: object) -> None:
        if self.nodes[-1] in self._running and self.answers("scancel", "--user=root"):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                wait_until(lambda: not self.says("squeue", "-h"), STOP_SECONDS, "all jobs are over")
        for name in reversed(self._running.copy()):
            self.stop(name, 3.0)
        for pid in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        for folder in CGROUPS.glob(f"*/slurm_{self.prefix}*"):
            for each in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
                with contextlib.suppress(OSError):
                    each.rmdir()
