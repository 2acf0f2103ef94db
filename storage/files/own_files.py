"""Files that foldrace writes where people look for them, and may edit them: what they edited is never overwritten."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.files.atomic import atomic_write, refuse_device

_DIGESTS = ".written"  # a folder in that of the run: the digest of each file as it was written, by its path from there


def write_own(path: Path, text: str, run: Path, *, force: bool = False, source: str = "") -> None:
    """Write a file, unless the one that is there was edited, is somebody else's, or was made from something else.

    Args:
        run: the folder of the run that writes it, which remembers what was written.
        force: write it in any case.
        source: what it is made from; empty where the run has only one such file.

    Raises:
        StorageError: the file that is there is not as foldrace wrote it from this source; or it cannot be written.
    """
    refuse_device(path)
    known = run / _DIGESTS / _digest(os.path.relpath(path, run).encode())  # the same where the run was moved or copied
    with as_storage_error(path):
        there = _digest(path.read_bytes()) if path.exists() else None
        written = known.read_text(encoding="utf-8") if known.exists() else None
    made_from = f" {_digest(source.encode())}" if source else ""
    is_ours = written == f"{there}{made_from}"
    if there not in (None, _digest(text.encode())) and not is_ours and not force:
        other = "holds what was made from another file, or by another ensemble"
        found = other if written and written.startswith(there) else "was edited, or foldrace did not write it"
        found = "an earlier version of foldrace wrote it, and did not note from what" if written == there else found
        raise StorageError(f"{path}: {found}; --force overwrites it")
    forgiven = () if path.absolute().is_relative_to(run.absolute()) else (StorageError,)  # a run that is only read
    with suppress(*forgiven), as_storage_error(known):
        known.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text)
    with suppress(*forgiven):
        atomic_write(known, _digest(text.encode()) + made_from)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]
