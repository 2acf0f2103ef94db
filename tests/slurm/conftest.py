"""A real Slurm of two nodes on this machine, from packages unpacked into a folder: nothing of the machine changes."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.workspace_servers import open_workspace

UNPACKED = Path(".slurm").absolute()  # `make test-slurm` puts here what the machine itself has not
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PROGRAMS = f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{os.environ['PATH']}:/usr/sbin"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=10
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=gpu Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The commands of a Slurm that runs."""

    def __init__(self, folder: Path) -> None:
        self.environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"} | {
            "PATH": PROGRAMS,
            "LD_LIBRARY_PATH": f"{UNPACKED}/{LIBRARIES}:{UNPACKED}/{LIBRARIES}/slurm-wlm",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def __call__(self, *command: str) -> str:
        """What a command prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def running(self, job: int) -> list[str]:
        """The tasks of a job that run, by their numbers."""
        return self("squeue", "-h", "-r", "-j", str(job), "-t", "RUNNING", "-o", "%i").split()


def wait_until(is_so: Callable[[], object], explain: Callable[[], str], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, explain()
        time.sleep(1.0)


@pytest.fixture
def workspace() -> Iterator[Path]:
    with open_workspace() as root:
        yield root


@pytest.fixture
def slurm(workspace: Path) -> Iterator[Slurm]:
    """Slurm, with its files in a folder beside those of the workspace."""
    folder = workspace / ".slurm-test"
    (folder / "state").mkdir(parents=True)
    with ExitStack() as stack:
        held = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(3)]
        ports = [each.getsockname()[1] for each in held]
    folders = [root / LIBRARIES / "slurm-wlm" for root in (UNPACKED, Path("/"))]
    plugins = ":".join(str(path) for path in folders if path.is_dir())  # it refuses one that is missing
    text = CONFIGURATION.format(host=socket.gethostname(), ports=ports, folder=folder, plugins=plugins)
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    run = Slurm(folder)
    munged = [f"--key-file={key}", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munged += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--force", "--foreground"]
    daemons = [["munged", *munged], ["slurmctld-wlm", "-D"]]
    daemons += [["slurmd-wlm", "-D", "-N", node, "-d", _program("slurmstepd-wlm")] for node in ("n1", "n2")]
    started = []
    try:
        for name, *arguments in daemons:
            command = [_program(name), *arguments]
            null = subprocess.DEVNULL
            started.append(subprocess.Popen(command, env=run.environment, stdout=null, stderr=null))
            wait_until((folder / "munge.socket").exists, lambda: "munged does not start")

        def explain() -> str:
            return _nodes(run) + (folder / "slurmctld.log").read_text()[-2000:]

        wait_until(lambda: "2 idle" in _nodes(run).replace("  ", " "), explain, seconds=120)
        yield run
        run("scancel", "--user=root", "--full", "--signal=KILL")
        run("scancel", "--user=root")
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            daemon.wait(60)


def _program(name: str) -> str:
    found = shutil.which(name, path=PROGRAMS)
    assert found is not None, f"{name} is not here; `make test-slurm` brings it"
    return found


def _nodes(slurm: Slurm) -> str:
    command = ["sinfo", "--noheader", "--format=%D %t"]
    return subprocess.run(command, env=slurm.environment, capture_output=True, text=True).stdout
