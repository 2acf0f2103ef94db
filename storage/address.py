"""The URL of a database: checked before anything is opened, and shown without its secrets.

A password leaves this module for the driver and for nobody else.
"""

import logging
from pathlib import Path
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

from foldrace.storage.errors import StorageError

EXAMPLES = "sqlite:///study.db, postgresql+psycopg://USER@HOST/DATABASE or workspace"
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "gluster", "fuse.sshfs")
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
IN_WORKSPACE = "workspace"  # in place of a URL: the server that the workspace has for itself
MOUNTS = Path("/proc/self/mounts")
_logger = logging.getLogger("foldrace.storage")


def parse(url: str) -> sa.URL:
    """The parsed URL; the path of an SQLite file is made absolute.

    Raises:
        StorageError: it is no URL, or not that of a database which workers can share.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # The driver's own words would repeat parts of a password with special characters.
        raise StorageError(f"the storage URL does not parse; {_hint()}") from None
    if "@" in (parsed.host or ""):
        raise StorageError(f"the storage URL has more than one @; {_hint()}")
    if parsed.drivername in ("postgresql", "postgres"):
        raise StorageError(
            f"storage {without_password(parsed)}: write postgresql+psycopg:// instead of {parsed.drivername}://"
        )
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StorageError(f"storage {without_password(parsed)}: neither SQLite nor PostgreSQL; {_hint()}")
    if parsed.drivername == "sqlite":
        return _absolute(parsed)
    # An empty password would keep the driver from looking for one in PGPASSWORD or ~/.pgpass.
    return parsed if parsed.password else parsed._replace(password=None)


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file, whatever characters its name has."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def without_password(url: sa.URL) -> str:
    """The URL as people see it: without its password and its options."""
    return url._replace(password=None, query=sa.util.EMPTY_DICT).render_as_string()


def without_secrets(url: str) -> str:
    """The URL as it may be stored: without passwords, which PGPASSWORD or ~/.pgpass then supply."""
    if url == IN_WORKSPACE:
        return url
    parsed = parse(url)
    return parsed.difference_update_query(SECRETS)._replace(password=None).render_as_string()


def redact(text: str, url: sa.URL) -> str:
    """`text` as one line, without the passwords of `url` in any spelling that a driver may repeat."""
    for secret in sorted(_secrets_of(url), key=len, reverse=True):
        for spelling in (secret, quote(secret, safe=""), quote_plus(secret), secret.replace("'", "\\'")):
            text = text.replace(spelling, "***")
    return " ".join(text.split())


def _secrets_of(url: sa.URL) -> set[str]:
    """The URL's passwords; a key of its query may be there more than once."""
    given = [url.query.get(key, "") for key in SECRETS]
    listed = [value for values in given for value in ([values] if isinstance(values, str) else values)]
    return {secret for secret in [str(url.password or ""), *listed] if secret}


def sqlite_file(url: sa.URL) -> Path:
    """The file of an SQLite database."""
    return Path(str(url.database))


def warn_of_network_file_system(path: Path, mounts: Path = MOUNTS) -> None:
    """Warn when a path is on a network file system: SQLite's locks do not hold on most of them."""
    kind = network_file_system(path, mounts)
    if kind:
        _logger.warning("%s is on a network file system (%s), where SQLite loses data; use PostgreSQL", path, kind)


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the network file system that a path is on; empty where it is on none."""
    kind = _file_system(path, mounts)
    return kind if kind.startswith(_NETWORK_FILE_SYSTEMS) else ""


def _file_system(path: Path, mounts: Path) -> str:
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    found = [(len(row[1]), row[2]) for row in rows if len(row) > 2 and path.is_relative_to(row[1])]
    return max(found, default=(0, ""))[1]


def _absolute(url: sa.URL) -> sa.URL:
    if url.database in (None, "", ":memory:"):
        raise StorageError(f"storage {without_password(url)}: in memory, so no second process could see it; {_hint()}")
    return url.set(database=str(Path(str(url.database)).absolute()))


def _hint() -> str:
    return f"write {EXAMPLES}, with special characters of a password percent-encoded"
