"""From a fresh interpreter to the runner's loop."""

import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from . import kernel
from .reactor import Reactor
from .template import Template, start_template

# Where a sandbox can be written to at all.
_SANDBOX_SCRATCH: Final = ("/tmp", "/dev/shm")
_LOWEST_OWN_FD: Final = 10
_INIT_PID: Final = 1


def boot(arguments: Sequence[str]) -> None:
    """Never returns: the process ends with its channel."""
    scratch = _scratch_folders(arguments)
    channel = _claim_channel()
    control, template_pid = start_template(scratch, channel)
    # After the fork: steps are to have ordinary signals, and to look at themselves through /proc.
    _harden()
    for end in channel:
        os.set_blocking(end, False)
    # After the fork, too: the template needs nothing of it.
    from .runner import Runner

    reactor = Reactor()
    template = Template(reactor, control, template_pid)
    runner = Runner(reactor, channel, template, scratch)
    template.on_lost = lambda: runner.exit(1, "something in the sandbox ended every process but this one")
    runner.start()
    reactor.run_forever()


def _claim_channel() -> tuple[int, int]:
    """Takes the channel away from 0 and 1, so that nothing that is printed can get into it, and nobody inherits it."""
    reading = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _LOWEST_OWN_FD)
    writing = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _LOWEST_OWN_FD)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return reading, writing


def _harden() -> None:
    kernel.forbid_inspection()
    kernel.adopt_orphans()
    # gVisor gives the first process no protection from signals of its children, but for what it ignores.
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                continue


def _scratch_folders(arguments: Sequence[str]) -> list[str]:
    """The values of `--scratch`; else those of a sandbox; else a new folder, for all that is in them is removed."""
    # argparse would cost main 2 MiB.
    if len(arguments) % 2 or any(option != "--scratch" for option in arguments[::2]):
        sys.exit("usage: main.py [--scratch FOLDER]...")
    if arguments:
        return [os.path.abspath(folder) for folder in arguments[1::2]]
    if os.getpid() == _INIT_PID:
        return [folder for folder in _SANDBOX_SCRATCH if os.access(folder, os.W_OK)]
    name = f"millrace-runner-{os.getpid()}-{os.urandom(4).hex()}"
    folder = os.path.join(os.path.abspath(os.environ.get("TMPDIR", "/tmp")), name)
    os.mkdir(folder, 0o700)
    return [folder]
