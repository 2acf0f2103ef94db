"""The connection to a Ray cluster; whatever is in the way is told in one line."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from foldrace.errors import FoldraceError

AUTO = "auto"
_SECONDS = 5.0  # for an answer of the head; Ray itself asks for minutes
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # HTTP/2, with empty settings
_SETTINGS = 4  # the kind of the frame that answers it
_CURRENT = Path("/tmp/ray/ray_current_cluster")  # where `ray start` notes the address of this machine's cluster


class RayError(FoldraceError):
    """Ray is not there, does not answer, or lacks something."""


class HeadLostError(RayError):
    """The head of the cluster does not answer any more; what the database has is not lost."""

    status = os.EX_TEMPFAIL


@contextmanager
def connected(address: str, travels: Path) -> Iterator[None]:
    """Be connected to the cluster at an address meanwhile; actors work in a copy of the folder `travels`.

    Args:
        address: HOST:PORT of its head, or `auto` for the one that this machine belongs to.

    Raises:
        RayError: Ray is not installed, or no cluster answers there.
    """
    if find_spec("ray") is None:
        raise RayError("--engine ray: Ray is not installed here; pip install 'foldrace[ray]' brings it")
    _refuse_silent(address)
    import ray

    if ray.is_initialized():
        raise RayError("this process is connected to Ray already; call ray.shutdown() first")
    _silence_daemons()
    try:
        ray.init(
            address=address,
            runtime_env={"working_dir": str(travels)},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        told = " ".join(str(error).split())
        raise RayError(f"--address {address}: {told}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Raise RayError where nobody answers as Ray does: Ray itself would try for two minutes."""
    if "://" in address:
        right = "run foldrace on a node of the cluster, with --address auto"
        raise RayError(f"--address {address}: a Ray client has no actors that outlive a lost node; {right}")
    asked = _find_address() if address == AUTO else address
    host, _, port = asked.rpartition(":")
    if not host or not port.isdecimal():
        raise RayError(f"--address {address}: expected auto, or HOST:PORT of the head of a Ray cluster")
    try:
        with socket.create_connection((host, int(port)), _SECONDS) as connection:
            connection.settimeout(_SECONDS)
            connection.sendall(_PREFACE)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RayError(f"--address {address}: no Ray cluster answers at {asked}: {why}") from None
    if len(answer) < 9 or answer[3] != _SETTINGS:
        raise RayError(f"--address {address}: what answers at {asked} is not the head of a Ray cluster")


def _find_address() -> str:
    """The address of the cluster that this machine belongs to. Raises RayError."""
    found = os.environ.get("RAY_ADDRESS", "")
    if found in ("", AUTO) and _CURRENT.is_file():
        found = _CURRENT.read_text(encoding="utf-8").strip()
    if found in ("", AUTO):
        raise RayError("--address auto: this machine belongs to no Ray cluster; `ray start` has it join one")
    return found


def _silence_daemons() -> None:
    """Keep what Ray's daemons say out of the live view: a node that is lost prints pages. Ray's own logs have it."""
    from ray._private import worker

    worker.print_to_stdstream = lambda *_, **__: None
