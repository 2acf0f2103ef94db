"""The folder of a run's pictures and of what people attach: links in it are never followed."""

from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from foldrace.storage.files.atomic import new_file, no_follow


class Artifacts(FileSystemArtifactStore):
    """Optuna's store of artifacts in a folder, in which somebody may plant a link to any other file."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The file. Raises ArtifactNotFound where there is none, or a link."""
        try:
            return open(self._get_filepath(artifact_id), "rb", opener=no_follow)
        except OSError as error:
            raise ArtifactNotFound(f"{artifact_id}: {error.strerror}") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write the file, in the place of one or of a link that is there. Raises StorageError."""
        path: Path = self._get_filepath(artifact_id)
        with new_file(path) as partial, partial.open("wb") as file:
            copyfileobj(content_body, file)
