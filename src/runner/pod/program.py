"""Runs one program of somebody's image, in its container of a pod: `python3 -I -S -B program.py RELAY_PORT`.

The image has nothing of what is needed for that, so it is put into a volume before (provide.py). What is said, src/core/sandbox/image-protocol.ts has:
the worker sends the program's command, variables, folder and input; then it gets what the program writes, and how it ended.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Final, NoReturn

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "python")]

from enter import connect, leave_network  # noqa: E402
from millrace_runner.frames import FrameDecoder, encode_frame  # noqa: E402

_PROTOCOL: Final = 1
_PIECE_BYTES: Final = 65_536
# What is left in the pipes when the program has ended; others may go on writing.
_LEFT_BYTES: Final = 2 * 1_048_576
_GOODBYE_SECONDS: Final = 30
_NEVER_STARTED: Final = 127
# Kubernetes and its runtime add them to every container.
_FOREIGN: Final = ("KUBERNETES_SERVICE_", "KUBERNETES_PORT")


def main(port: int) -> None:
    channel = connect(port)
    leave_network()
    about = {"environment": _environment(), "folder": os.getcwd()}
    _send(channel, {"type": "image_ready", "protocol": _PROTOCOL}, _to_bytes(json.dumps(about)))
    order, text = _receive(channel)
    ending, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup)
    started = _start(order, text)
    if isinstance(started, str):
        _send(channel, {"type": "not_started", "reason": started})
    else:
        child, stdout, stderr = started
        _send(channel, {"type": "ended", "code": _carry(channel, child, {stdout: "stdout", stderr: "stderr"}, ending)})
    # The other side hangs up: whoever ends first may take with it what is still under way.
    channel.settimeout(_GOODBYE_SECONDS)
    while channel.recv(_PIECE_BYTES):
        pass


def _environment() -> dict[str, str]:
    """Of the image. No root is anybody's home here, and LD_PRELOAD is empty because the pod says so."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN)
        and name not in ("HOSTNAME", "LD_PRELOAD")
        and not (name == "HOME" and value == "/")
    }


def _receive(channel: socket.socket) -> tuple[dict[str, object], bytes]:
    """What is to be run, and its input."""
    decoder = FrameDecoder()
    order, text = bytearray(), bytearray()
    sizes: tuple[int, int] | None = None
    while sizes is None or (len(order), len(text)) != sizes:
        piece = channel.recv(_PIECE_BYTES)
        if not piece:
            sys.exit("the worker hung up")
        for header, payload in decoder.push(piece):
            if header["type"] == "program":
                sizes = (header["bytes"], header["inputBytes"])
            elif header["type"] == "part":
                (order if header["of"] == "program" else text).extend(payload)
    return json.loads(order), bytes(text)


def _start(order: dict[str, object], text: bytes) -> tuple[int, int, int] | str:
    """Gives its process and what it writes to; or why it cannot be run."""
    # A file, as on one machine: programs open /dev/stdin anew, and look at its size.
    stdin = os.memfd_create("stdin")
    for at in range(0, len(text), _PIECE_BYTES):
        os.write(stdin, text[at : at + _PIECE_BYTES])
    os.lseek(stdin, 0, os.SEEK_SET)
    read_stdout, stdout = os.pipe()
    read_stderr, stderr = os.pipe()
    failure, fail = os.pipe()
    child = os.fork()
    if child == 0:
        _become(order, (stdin, stdout, stderr), fail)
    for descriptor in (stdin, stdout, stderr, fail):
        os.close(descriptor)
    # Closed by the program that is there instead.
    reason = os.read(failure, _PIECE_BYTES)
    os.close(failure)
    if reason:
        return reason.decode("utf-8", "replace")
    return child, read_stdout, read_stderr


def _become(order: dict[str, object], stdio: tuple[int, int, int], fail: int) -> NoReturn:
    try:
        for number, descriptor in enumerate(stdio):
            os.dup2(descriptor, number)
        # Python ignores them, and a program would go on doing so.
        for name in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(name, signal.SIG_DFL)
        os.chdir(order["folder"])
        command = [_to_bytes(argument) for argument in order["command"]]
        environment = {_to_bytes(name): _to_bytes(value) for name, value in order["environment"].items()}
        os.execvpe(command[0], command, environment)
    except OSError as error:
        os.write(fail, os.strerror(error.errno or 0).lower().encode())
    finally:
        os._exit(_NEVER_STARTED)


def _carry(channel: socket.socket, child: int, pipes: dict[int, str], ending: int) -> int:
    """Passes on what the program writes until it ends. Gives its exit code; of a signal, as a shell says it."""
    poll = select.poll()
    for descriptor in (*pipes, ending, channel.fileno()):
        poll.register(descriptor, select.POLLIN)
    opened = dict(pipes)
    code: int | None = None
    while code is None:
        for descriptor, _ in poll.poll():
            if descriptor == channel.fileno():
                sys.exit("the worker hung up")
            elif descriptor == ending:
                os.read(ending, _PIECE_BYTES)
                code = _reap(child)
            elif piece := os.read(descriptor, _PIECE_BYTES):
                _send(channel, {"type": opened[descriptor]}, piece)
            else:
                poll.unregister(descriptor)
                del opened[descriptor]
    for descriptor, name in opened.items():
        _send_rest(channel, descriptor, name)
    return code


def _reap(child: int) -> int | None:
    """As the first process of its container, it is the parent of those whose own has ended."""
    code: int | None = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if ended == 0:
            return code
        if ended == child:
            exit_code = os.waitstatus_to_exitcode(status)
            code = exit_code if exit_code >= 0 else 128 - exit_code


def _send_rest(channel: socket.socket, descriptor: int, name: str) -> None:
    os.set_blocking(descriptor, False)
    left = _LEFT_BYTES
    while left > 0:
        try:
            piece = os.read(descriptor, _PIECE_BYTES)
        except BlockingIOError:
            return
        if not piece:
            return
        _send(channel, {"type": name}, piece)
        left -= len(piece)


def _send(channel: socket.socket, header: dict[str, object], payload: bytes = b"") -> None:
    channel.sendall(encode_frame(header, payload))


def _to_bytes(text: str) -> bytes:
    """As it came: what is no UTF-8 in the variables of an image, Python has as lone surrogates."""
    return text.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("usage: program.py RELAY_PORT")
    main(int(sys.argv[1]))
