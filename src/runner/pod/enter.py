"""Starts a runner in its container of a pod: `python3 -I -S -B enter.py RELAY_PORT COMMAND...`.

The runner's standard input and output become a connection to the relay, which is in the pod's other container. After that
the process leaves the network of the pod for an empty one, so that nothing it runs can connect to anything.
"""

import contextlib
import ctypes
import os
import socket
import sys
import time
from typing import Final

_TRIES: Final = 600
_PAUSE_SECONDS: Final = 0.1
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
# Kubernetes adds variables of its own, and so may whoever deploys.
_VARIABLES: Final = ("PATH", "HOME", "TMPDIR", "LANG")
_DENO_VARIABLES: Final = ("DENO_DIR", "DENO_NO_UPDATE_CHECK", "NO_COLOR")


def main(port: int, command: list[str]) -> None:
    channel = connect(port)
    leave_network()
    # Only now: whoever is refused an empty network runs nothing.
    for descriptor in (0, 1):
        os.dup2(channel.fileno(), descriptor)
    names = _VARIABLES + (_DENO_VARIABLES if os.path.basename(command[0]) == "deno" else ())
    os.execve(command[0], command, {name: os.environ[name] for name in names if name in os.environ})


def connect(port: int) -> socket.socket:
    """The relay may start later than this."""
    for left in reversed(range(_TRIES)):
        channel = socket.socket()
        try:
            channel.connect(("127.0.0.1", port))
        except OSError:
            channel.close()
            if left == 0:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return channel
    raise AssertionError("unreachable")


def leave_network() -> None:
    """Into a network namespace of its own, which takes a user namespace of its own (unshare(2)).

    The connection stays with the network in which it was made.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the kernel gives no network namespace: {os.strerror(number)}")
    # Being the same user inside as outside.
    with contextlib.suppress(FileNotFoundError):  # gVisor has none
        _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit("usage: enter.py RELAY_PORT COMMAND...")
    main(int(sys.argv[1]), sys.argv[2:])
