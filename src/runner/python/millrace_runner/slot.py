"""A slot's process: runs the author's code, one run at a time, and reports to main over its link."""

import contextvars
import gc
import json
import os
import socket
import sys
from typing import Any, Final, NoReturn

from . import kernel, limits, volatile
from . import link as messages
from .budget import LogBudget
from .capture import CapturedText, set_streams
from .context import Context
from .execute import execute
from .failures import Failure, describe_failure
from .hygiene import Process, Snapshot, may_change_limits
from .importer import Program
from .link import Link
from .mailbox import Mailbox
from .protocol import LOG_LEVELS, STDERR_LEVEL, STDOUT_LEVEL, make_detail
from .scratch import remove_small_folder
from .volatile import LoggingState

_LINK_FD: Final = 3


class Baseline:
    """What the template made before it forks, and every slot is compared with."""

    def __init__(self, logging_state: LoggingState) -> None:
        self.logging = logging_state
        self.snapshot = Snapshot()


def run_slot(baseline: Baseline, link_fd: int, folder: str, main: int, total_bytes: int) -> NoReturn:
    """Serves runs until main closes the link. To be called in a fresh fork; never returns."""
    # One fixed number, so that everything above it is the run's (Process.restore).
    if link_fd != _LINK_FD:
        os.dup2(link_fd, _LINK_FD)
    os.set_inheritable(_LINK_FD, False)
    os.closerange(_LINK_FD + 1, limits.MAX_OPEN_FILES)
    kernel.end_with_parent()
    kernel.adopt_orphans()
    os.environ.update(HOME=folder, TMPDIR=folder)
    limits.limit_slot()
    limits.limit_memory(total_bytes)
    baseline.snapshot.accept_fork()
    slot = Slot(baseline, Link(socket.socket(fileno=_LINK_FD)), folder, total_bytes)
    limits.forbid_process_bombs(main, slot.end_bomb)
    code = 0
    try:
        slot.serve()
    except (EOFError, OSError):
        pass
    except BaseException as error:
        code = 1
        os.write(2, f"slot: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    os._exit(code)


class Slot:
    """The loop of a slot, and what it keeps between runs: the programs."""

    def __init__(self, baseline: Baseline, link: Link, folder: str, total_bytes: int) -> None:
        self._baseline = baseline
        self._link = link
        self._folder = folder
        self._default_bytes = self._total_bytes = total_bytes
        self._programs: dict[str, Program] = {}
        self._pid = os.getpid()
        self._process = Process()
        self._streams = (sys.stdout, sys.stderr)

    def end_bomb(self, event: str, most: int) -> NoReturn:
        """Ends this process: the slot's with a word, one that it forked without."""
        if os.getpid() == self._pid:
            message = (
                f"the step reached its limit of processes, {most} for {event}, and went on trying to start more; "
                "start fewer at a time, for `resources` do not raise it"
            )
            failure: Failure = ("resource_limit", make_detail("BlockingIOError", message))
            self._link.send(messages.FAILED, messages.UNFIT, json.dumps(failure).encode())
        os._exit(1)

    def serve(self) -> None:
        while True:
            message = self._link.receive()
            assert message is not None
            kind, _, body = message
            if kind == messages.PROGRAM:
                header, source = messages.unpack_parts(body)
                self._programs[header["program"]] = _parse_program(source, header.get("packages"))
            elif kind == messages.RUN:
                self._run(*messages.unpack_parts(body))
            # Everything else was sent to the run before, when main did not know yet that it was over.

    def _run(self, header: dict[str, Any], payload: bytes) -> None:
        budget = LogBudget(header["maxLogBytes"], self._send_log)
        output, failure = self._call(header, payload, budget)
        if os.getpid() != self._pid:
            # A fork that the author's code let run on; only its parent may report.
            os._exit(0)
        if failure and failure[0] == "out_of_memory":
            limits.release_memory()
        state = messages.REUSABLE
        # A process for one run alone has nobody to keep clean for.
        if not header.get("isolateProcess"):
            state, leftovers = self._clean_up()
            if failure and failure[0] == "out_of_memory":
                state = messages.UNFIT
            if leftovers:
                budget.add("debug", f"the step's process is replaced: {'; '.join(leftovers)}".encode())
        budget.flush()
        if failure is None:
            self._link.send(messages.RESULT, state, output)
        else:
            self._link.send(messages.FAILED, state, json.dumps(failure).encode())

    def _call(self, header: dict[str, Any], payload: bytes, budget: LogBudget) -> tuple[bytes, Failure | None]:
        """Runs the program; nothing it holds is left in a local variable when this returns."""
        out = CapturedText("<stdout>", 1, lambda text: budget.add(STDOUT_LEVEL, text))
        err = CapturedText("<stderr>", 2, lambda text: budget.add(STDERR_LEVEL, text))
        set_streams(out, err)
        self._baseline.logging.handler.emit_entry = budget.add
        program: Program | None = None
        try:
            self._prepare(header)
            program = self._programs[header["program"]]
            values = json.loads(payload)
            ctx = Context(values["context"], Mailbox(self._link), budget.add)
            return (
                contextvars.copy_context().run(execute, program, ctx, values["input"], header["maxOutputBytes"]),
                None,
            )
        except BaseException as error:
            return b"", describe_failure(error, program, limits.slot_memory_bytes(self._total_bytes))
        finally:
            out.finish()
            err.finish()

    def _prepare(self, header: dict[str, Any]) -> None:
        total_bytes = header.get("memoryBytes", self._default_bytes)
        if total_bytes != self._total_bytes:
            self._total_bytes = total_bytes
            limits.limit_memory(total_bytes)
            self._process = Process()
        os.mkdir(self._folder, 0o700)
        os.chdir(self._folder)
        volatile.begin_run()

    def _clean_up(self) -> tuple[int, list[str]]:
        """Removes what the run has left in this process; gives the state of it, and what could not be removed."""
        set_streams(*self._streams)
        snapshot = self._baseline.snapshot
        may_have_changed_limits = may_change_limits(snapshot.imported())
        is_purged = snapshot.purge()
        self._baseline.logging.restore()
        volatile.reset()
        # Finalizers of the author's objects run here, rather than in somebody else's run.
        gc.collect()
        snapshot.clear_caches()
        self._process.restore()
        leftovers = self._process.differences(may_have_changed_limits)
        if differences := snapshot.differences():
            leftovers.append(f"{', '.join(differences[:5])} was changed")
        # What it does not remove, main sees, and has removed: a run may have left a million files.
        remove_small_folder(self._folder)
        if leftovers:
            return messages.UNFIT, leftovers
        return messages.REUSABLE if is_purged and not self._process.is_large() else messages.USED_UP, leftovers

    def _send_log(self, level: str, text: bytes, is_marker: bool) -> None:
        self._link.send(messages.LOG, LOG_LEVELS.index(level) | is_marker << 8, text)


def _parse_program(source: bytes, packages: str | None) -> Program:
    program = json.loads(source)
    return Program(program["entry"], program["files"], packages)
