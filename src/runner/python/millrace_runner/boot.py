"""From a fresh interpreter to the runner's loop."""

import argparse
import fcntl
import os
import signal
from collections.abc import Sequence
from typing import Final

from . import kernel
from .reactor import Reactor
from .runner import Runner
from .template import Template, start_template

# Where a sandbox can be written to at all.
_SANDBOX_SCRATCH: Final = ("/tmp", "/dev/shm")
_LOWEST_OWN_FD: Final = 10
_IS_INIT: Final = 1


def boot(arguments: Sequence[str]) -> None:
    """Never returns: the process ends with its channel."""
    scratch = _scratch_folders(arguments)
    channel = _claim_channel()
    control, template_pid = start_template(scratch, channel)
    # After the fork: steps are to have ordinary signals, and to look at themselves through /proc.
    _harden()
    os.set_blocking(channel[0], False)
    os.set_blocking(channel[1], False)
    reactor = Reactor()
    runner: Runner

    def on_template_lost() -> None:
        runner.exit(1, "the template ended: something in the sandbox killed every process")

    template = Template(reactor, control, template_pid, on_template_lost)
    runner = Runner(reactor, channel, template, scratch)
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
    """All in them is removed after a run, so that they are never guessed where others write, too."""
    parser = argparse.ArgumentParser(description="Runs the Python steps of a sandbox.")
    parser.add_argument("--scratch", action="append", help="a folder for runs to write to; all in it is removed")
    given: list[str] | None = parser.parse_args(arguments).scratch
    if given:
        return [os.path.abspath(folder) for folder in given]
    if os.getpid() != _IS_INIT:
        parser.error("--scratch is required outside of a sandbox: all in that folder is removed")
    return [folder for folder in _SANDBOX_SCRATCH if os.access(folder, os.W_OK)]
