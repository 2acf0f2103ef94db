"""Folders of a test that another user of the machine may enter."""

import tempfile
from pathlib import Path


def let_others_in(path: Path) -> None:
    """Let everybody read a file or a folder and enter those above it, up to the one for temporary files."""
    for place in (path, *path.parents):
        if place.is_relative_to(tempfile.gettempdir()) and place != Path(tempfile.gettempdir()):
            place.chmod(place.stat().st_mode | 0o055)
