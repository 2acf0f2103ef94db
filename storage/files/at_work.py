"""Who is at work in a folder: each process keeps a note there, locked while it lives and read by the others."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foldrace.storage.errors import as_storage_error
from foldrace.storage.files.locking import locked, try_lock

_NOTES = ".at-work"  # a folder in the one that is worked in
_NOTE, _SETTINGS = ".note", ".toml"


@contextmanager
def at_work(folder: Path, note: str, settings: str, refuse: Callable[[str], None]) -> Iterator[Path]:
    """Keep a note in a folder while this process works there, and a file of settings that no other process writes.

    Args:
        note: what others have to know of this work.
        refuse: called with the note of each other process that is at work; it raises where both cannot work there.

    Yields:
        The file that holds `settings`.

    Raises:
        StorageError: the folder cannot be written.
    """
    own = folder / _NOTES / f"{uuid.uuid4().hex}{_NOTE}"
    with as_storage_error(own):
        own.parent.mkdir(parents=True, exist_ok=True)
        with locked(own.parent / "lock"):
            for other in sorted(own.parent.glob(f"*{_NOTE}")):
                if (text := _note_of_living(other)) is not None:
                    refuse(text)
            own.with_suffix(_SETTINGS).write_text(settings, encoding="utf-8")
            file = own.open("w", encoding="utf-8")
            try_lock(file.fileno())
            file.write(note)
            file.flush()
    try:
        yield own.with_suffix(_SETTINGS)
    finally:
        with suppress(OSError):  # whoever comes next removes it
            _remove(own)
        file.close()


def is_at_work(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    return any(_note_of_living(note) is not None for note in (folder / _NOTES).glob(f"*{_NOTE}"))


def _note_of_living(path: Path) -> str | None:
    """The note of a process that lives; None where it has ended, and its files are removed, and where it is no file."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            if not try_lock(file.fileno()):
                return file.read()
            _remove(path)
    except FileNotFoundError:
        pass  # its process ended meanwhile
    return None


def _remove(note: Path) -> None:
    note.with_suffix(_SETTINGS).unlink(missing_ok=True)
    note.unlink(missing_ok=True)
