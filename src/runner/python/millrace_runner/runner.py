"""Main: takes programs and runs from the worker, gives each run to a slot, and sees to it that none leaves anything."""

import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from . import link as messages
from .frames import FrameDecoder, ProtocolError, encode_frame
from .kernel import describe_kernel
from .process_tree import kill_descendants, kill_orphans
from .protocol import PROTOCOL_VERSION, make_detail
from .reactor import Callback, Reactor
from .relay import Run, is_text, parse_failure
from .scratch import list_scratch, slot_folder, wipe
from .slot_process import SlotProcess
from .stream import Outbox, read_available
from .template import ALL_SLOTS, Template

SLOTS: Final = 2

_INIT_PID: Final = 1
# As in link.py: no more, or each read maps memory.
_READ_BYTES: Final = 65_536
# A fork takes about as long, and 20 MiB: most runs that wait have their turn before.
_FORK_DELAY_SECONDS: Final = 0.01
# Above this, slots are not read until the worker has taken what it was sent.
_MAX_WAITING_BYTES: Final = 1_048_576


class Runner:
    """The state of main. All of it runs in the reactor's thread, and never waits."""

    def __init__(self, reactor: Reactor, channel: tuple[int, int], template: Template, scratch: Sequence[str]) -> None:
        self._reactor = reactor
        self._channel_in, channel_out = channel
        self._outbox = Outbox(reactor, channel_out, self._resume, lambda: self.exit(0))
        self._decoder = FrameDecoder()
        self._template = template
        self._scratch = scratch
        self._programs: dict[str, _Program] = {}
        self._coming: _Program | None = None
        # By nonce, until they are over.
        self._runs: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()
        # In the order of their slots: the first that is free has the next run, so that others are used when needed.
        self._processes: list[SlotProcess] = []
        self._next_slot = 1
        # Slots whose folder is being removed. No run begins before it is gone, for it would see it.
        self._cleaned: set[int] = set()
        # Something else is in the scratch folders: no run begins before they were wiped.
        self._is_dirty = False
        self._is_wiping = False
        self._is_paused = False
        self._is_fork_due = False
        self._is_telling_due = False
        self._is_started = False

    def start(self) -> None:
        """Forks the first slot; says `ready` once it is there."""
        self._fork()

    # What comes from the worker.

    def _read_channel(self) -> None:
        chunk = read_available(self._channel_in, _READ_BYTES)
        if chunk is None:
            return
        if not chunk:
            self.exit(0)
        try:
            for header, payload in self._decoder.push(chunk):
                self._take_frame(header, payload)
        except (ProtocolError, KeyError, TypeError) as error:
            self.exit(1, f"the worker broke the protocol: {type(error).__name__}: {error}")

    def _take_frame(self, header: dict[str, Any], payload: bytes) -> None:
        kind = header["type"]
        if kind == "part":
            self._take_part(header["of"], payload)
        elif kind == "run":
            if header["program"] not in self._programs:
                raise ProtocolError(f"the program {header['program']!r} was never sent")
            run = Run(header, self._send)
            self._runs[run.nonce] = run
            self._queue_if_whole(run)
        elif kind == "program" and header["language"] != "python":
            refusal = make_detail("Error", "this runner runs Python")
            failed = {"type": "program_failed", "program": header["program"], "failure": "syntax_error"}
            self._send(failed, json.dumps(refusal).encode())
        elif kind == "program":
            self._coming = _Program(header)
            self._keep_if_whole(self._coming)
        elif kind == "file":
            self._keep_file(header["path"], payload)
        elif kind == "cancel":
            self._cancel(header["nonce"], header["graceMs"])
        elif kind == "ping":
            self._send({"type": "pong", "ping": header["ping"]})
        elif kind in _FETCH_FRAMES:
            process = self._process_of(header["nonce"])
            if process and process.run:
                process.run.from_worker(header, payload, process.send)
        else:
            raise ProtocolError(f"there is no frame {kind!r}")

    def _keep_file(self, path: str, content: bytes) -> None:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "ab") as file:
                file.write(content)
        except OSError as error:
            self.exit(1, f"a file of packages cannot be kept: {error}")

    def _take_part(self, of: str, payload: bytes) -> None:
        if run := self._runs.get(of):
            run.add_part(payload)
            self._queue_if_whole(run)
        elif self._coming and self._coming.id == of:
            self._coming.add_part(payload)
            self._keep_if_whole(self._coming)
        # Else the run was cancelled meanwhile.

    def _keep_if_whole(self, program: "_Program") -> None:
        if program.missing_bytes == 0:
            self._coming = None
            self._programs[program.id] = program
            self._send({"type": "program_ready", "program": program.id})

    def _queue_if_whole(self, run: Run) -> None:
        if run.missing_bytes == 0:
            self._waiting.append(run)
            self._schedule()

    def _cancel(self, nonce: str, grace_ms: float) -> None:
        run = self._runs.get(nonce)
        if run is None:
            return
        run.is_cancelled = True
        process = self._process_of(nonce)
        if process is None:
            if run in self._waiting:
                self._waiting.remove(run)
            self._fail(run, *_CANCELLED)
            return
        process.send(messages.CANCEL)
        self._reactor.after(grace_ms / 1000, lambda: self._end_by_force(process, run))

    def _end_by_force(self, process: SlotProcess, run: Run) -> None:
        if not run.is_over and process.run is run:
            process.kill()
            process.run = None
            run.note_lost_slot()
            self._fail(run, *_CANCELLED, slot_replaced=not process.is_isolated)

    # What comes from slots (slot_process.Owner).

    def on_forked(self, process: SlotProcess) -> None:
        if not self._is_started:
            self._is_started = True
            runtime = f"python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
            ready = {"type": "ready", "protocol": PROTOCOL_VERSION, "runtime": runtime, "slots": SLOTS}
            self._send({**ready, "kernel": describe_kernel()})
            self._reactor.on_readable(self._channel_in, self._read_channel)
        if self._is_paused:
            process.pause(True)
        self._schedule()

    def on_message(self, process: SlotProcess, kind: int, number: int, body: bytes) -> None:
        run = process.run
        if run is None:
            # A thread that a run left behind, in a slot that is about to be replaced.
            return
        if kind not in (messages.RESULT, messages.FAILED):
            run.from_slot(kind, number, body)
            return
        outcome = parse_failure(body) if kind == messages.FAILED else None
        if outcome is None and not (len(body) <= run.max_output_bytes and is_text(body)):
            raise ProtocolError("a result is none that an honest slot sends")
        process.drain_output()
        process.run = None
        if number != messages.REUSABLE or process.is_isolated:
            process.kill()
        slot_replaced = number == messages.UNFIT
        if run.is_cancelled:
            self._fail(run, *_CANCELLED, slot_replaced=slot_replaced)
        elif outcome is None:
            self._forget(run)
            run.succeed(body, slot_replaced)
        else:
            self._fail(run, *outcome, slot_replaced=slot_replaced)
        self._check_scratch(process)
        self._schedule()

    def on_ended(self, process: SlotProcess, status: int) -> None:
        self._processes.remove(process)
        kill_orphans(self._template.pid)
        if run := process.run:
            process.run = None
            run.note_lost_slot()
            outcome = _CANCELLED if run.is_cancelled else ("code_error", _describe_end(process, status))
            self._fail(run, *outcome, slot_replaced=not process.is_isolated)
        self._check_scratch(process)
        self._schedule()

    # Giving runs to slots.

    def _schedule(self) -> None:
        """Starts what can be started, and makes room for the rest."""
        if self._is_dirty:
            self._wipe_when_idle()
        elif not self._cleaned and not self._is_any_dying():
            self._begin_waiting()
        alive = self._count_alive()
        if alive == 0:
            self._fork()
        elif alive < SLOTS and self._is_any_waiting() and not self._is_fork_due:
            self._is_fork_due = True
            self._reactor.after(_FORK_DELAY_SECONDS, self._fork_if_waiting)
        if self._waiting and not self._is_telling_due:
            self._is_telling_due = True
            self._reactor.after(_FORK_DELAY_SECONDS, self._tell_waiting)

    def _fork_if_waiting(self) -> None:
        self._is_fork_due = False
        if self._count_alive() < SLOTS and self._is_any_waiting():
            self._fork()

    def _tell_waiting(self) -> None:
        self._is_telling_due = False
        for run in self._waiting:
            run.say_waiting()

    def _count_alive(self) -> int:
        """Processes for any run that are there or on their way."""
        return sum(not process.is_dying and not process.is_isolated for process in self._processes)

    def _is_any_dying(self) -> bool:
        """Whether a process may still write files, though nobody waits for it."""
        return any(process.is_dying for process in self._processes)

    def _is_any_waiting(self) -> bool:
        return any(not run.is_isolated for run in self._waiting)

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._busy()) < SLOTS:
            process = self._free_process(self._waiting[0])
            if process is None:
                return
            self._begin(process, self._waiting.popleft())

    def _free_process(self, run: Run) -> SlotProcess | None:
        """A process for a run; an isolated one has one forked, unless that is on its way."""
        kind = [process for process in self._processes if process.is_isolated == run.is_isolated]
        for process in kind:
            if process.is_ready and process.run is None:
                return process
        if run.is_isolated and all(process.run or process.is_dying for process in kind):
            self._fork(is_isolated=True)
        return None

    def _begin(self, process: SlotProcess, run: Run) -> None:
        process.run = run
        run.say_started()
        if run.program not in process.programs:
            process.programs.add(run.program)
            process.send(messages.PROGRAM, 0, self._programs[run.program].body)
        process.send(messages.RUN, 0, run.body_for_slot())

    def _fork(self, is_isolated: bool = False) -> None:
        process = SlotProcess(self._reactor, self._template, self, self._next_slot)
        process.is_isolated = is_isolated
        self._next_slot += 1
        self._processes.append(process)

    def _busy(self) -> list[SlotProcess]:
        return [process for process in self._processes if process.run]

    def _process_of(self, nonce: str) -> SlotProcess | None:
        return next((process for process in self._busy() if process.run and process.run.nonce == nonce), None)

    # Leaving no files.

    def _check_scratch(self, ended: SlotProcess) -> None:
        """Has what a run left in its folder removed; anything beside the folders has to wait for the runs under way."""
        own = slot_folder(self._scratch, ended.slot)
        found = list_scratch(self._scratch)
        if own in found and ended.slot not in self._cleaned:
            self._cleaned.add(ended.slot)
            self._wipe(ended.slot, lambda: self._on_folder_removed(ended.slot))
        in_use = {process.slot for process in self._busy()} | self._cleaned
        if found - {slot_folder(self._scratch, slot) for slot in in_use}:
            self._is_dirty = True

    def _on_folder_removed(self, slot: int) -> None:
        self._cleaned.discard(slot)
        if os.path.lexists(slot_folder(self._scratch, slot)):
            self._is_dirty = True
        self._schedule()

    def _wipe_when_idle(self) -> None:
        """What is under way may use the files; what is dying may still write some."""
        is_idle = not self._busy() and not self._cleaned and not self._is_any_dying()
        if is_idle and not self._is_wiping:
            self._is_wiping = True
            self._wipe(ALL_SLOTS, self._on_wiped)

    def _on_wiped(self) -> None:
        self._is_wiping = self._is_dirty = False
        if left := list_scratch(self._scratch):
            self.exit(1, f"{len(left)} files of a run cannot be removed")
        self._schedule()

    def _wipe(self, slot: int, on_wiped: Callback) -> None:
        def await_wiper(pid: int) -> None:
            pidfd = os.pidfd_open(pid)

            def on_exit() -> None:
                self._reactor.forget(pidfd)
                os.close(pidfd)
                self._template.reap(pid, lambda _status: on_wiped())

            self._reactor.on_readable(pidfd, on_exit)

        self._template.wipe(slot, await_wiper)

    # What goes to the worker.

    def _fail(self, run: Run, failure: str, detail: dict[str, Any], slot_replaced: bool = False) -> None:
        self._forget(run)
        run.fail(failure, detail, slot_replaced)

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.nonce, None)

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self._outbox.write(encode_frame(header, payload))
        if self._outbox.waiting_bytes > _MAX_WAITING_BYTES and not self._is_paused:
            self._pause(True)

    def _resume(self) -> None:
        if self._is_paused:
            self._pause(False)

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        for process in self._processes:
            process.pause(is_paused)

    def _remove_scratch(self) -> None:
        """A sandbox takes its folders with it; elsewhere they are this process's own."""
        if os.getpid() != _INIT_PID:
            for folder in self._scratch:
                wipe(folder)
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def exit(self, code: int, reason: str | None = None) -> NoReturn:
        """Ends the sandbox: the worker gives its runs to others."""
        if reason:
            os.write(2, f"runner: {reason}\n".encode())
        kill_descendants()
        self._remove_scratch()
        os._exit(code)


class _Program:
    """A program on its way, and once it is whole, what slots are sent of it."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.id: str = header["program"]
        self.missing_bytes: int = header["bytes"]
        self._packages: str | None = header.get("packages")
        self._source = bytearray()

    def add_part(self, payload: bytes) -> None:
        self._source += payload
        self.missing_bytes -= len(payload)
        if self.missing_bytes < 0:
            raise ProtocolError("a program has more bytes than it said")

    @property
    def body(self) -> bytes:
        return messages.pack_parts({"program": self.id, "packages": self._packages}, bytes(self._source))


_FETCH_FRAMES: Final = frozenset({"fetch_head", "fetch_data", "fetch_end", "fetch_failed", "fetch_credit"})
_CANCELLED: Final = ("cancelled", make_detail("Cancelled", "the step was cancelled"))


def _describe_end(process: SlotProcess, status: int) -> dict[str, Any]:
    """The detail of a run whose process ended without a word."""
    if process.has_lost_link and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        how = "it closed, or wrote to, a descriptor that is not its own"
    elif os.WIFSIGNALED(status):
        how = f"signal {_signal_name(os.WTERMSIG(status))}"
    else:
        how = f"exit code {os.WEXITSTATUS(status)}"
    return make_detail("ProcessEnded", f"the code ended its process ({how}); return from run() instead")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
