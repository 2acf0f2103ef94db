"""A process that has no network but loopback, and notes what it asked for."""

import os
import subprocess
import sys
from pathlib import Path

_GUARD = """
import os, socket

lookup, connect = socket.getaddrinfo, socket.socket.connect
LOOPBACK = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0")

def refuse(host):
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOOPBACK:
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{host}\\n")
        raise OSError(f"{host}: there is no network")

def guarded_lookup(host, *arguments, **named):
    refuse(host)
    return lookup(host, *arguments, **named)

def guarded_connect(self, address):
    if self.family != socket.AF_UNIX:
        refuse(address[0])
    return connect(self, address)

socket.getaddrinfo, socket.socket.connect = guarded_lookup, guarded_connect
"""


def hosts_asked_for(script: str, folder: Path) -> list[str]:
    """The hosts that a script, and the Python processes it starts, asked for; the script runs in `folder`."""
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(_GUARD)
    asked = folder / "asked"
    asked.touch()
    # Nothing else of our environment: many libraries are quieter where they are tested.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "ASKED": str(asked)}
    environment |= {"PYTHONPATH": f"{folder / 'guard'}:{Path.cwd()}"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return asked.read_text().split()
