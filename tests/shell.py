"""
The command `rlaif` for lines of a shell, run in processes of `tests.processes` so that it starts at once.

What lies on the path asks this process, by a socket, for a process with its own arguments, folder, environment and
standard files, waits for it, and ends as it does. It is for commands that run to their end: a signal to what lies on
the path does not reach the process. What pip installs as `rlaif` is tested in `test_packaging.py` and `test_shell.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path

from tests import processes

SCRIPT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect({address!r})
    socket.send_fds(asking, [b" "], [0, 1, 2])
    asking.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    asking.shutdown(socket.SHUT_WR)
    status = int(asking.recv(100) or 1)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class Commands:
    """A folder for PATH with the command `rlaif`, while the context lasts."""

    def __enter__(self) -> Path:
        self._folder = Path(tempfile.mkdtemp())  # short: the address of a socket has 107 characters at most
        address = str(self._folder / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen()
        script = self._folder / "rlaif"
        script.write_text(SCRIPT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        threading.Thread(target=self._listen, daemon=True).start()
        return self._folder

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._folder)

    def _listen(self) -> None:
        while True:
            try:
                asking, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=_serve, args=(asking,), daemon=True).start()


def _serve(asking: socket.socket) -> None:
    """Run one command for who asks."""
    with asking:
        _, files, *_ = socket.recv_fds(asking, 1, 3)
        parts = []
        while part := asking.recv(65536):
            parts.append(part)
        arguments, cwd, env = json.loads(b"".join(parts))
        stdin, stdout, stderr = files
        process = processes.start(
            ["-m", "rlaif", *arguments], cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr
        )
        for file in files:
            os.close(file)
        asking.sendall(str(process.wait()).encode())
