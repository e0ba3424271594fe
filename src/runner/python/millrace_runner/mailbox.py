"""What a slot receives during a run, for all threads of the author's code, without a thread of its own.

Starting a thread costs two milliseconds in gVisor. So whoever waits for something reads the link, on behalf of
everyone, until its own turn has come; then another one that waits goes on reading.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from . import link as messages
from .link import Link, Message


class Receiver(Protocol):
    """A fetch under way; called with the mailbox's lock held."""

    def receive(self, kind: int, number: int, body: bytes) -> None: ...


class Mailbox:
    """The messages of one run."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.is_cancelled = False
        self.lock = threading.Condition()
        self._is_read = False
        self._receivers: dict[int, Receiver] = {}
        self._last_fetch = 0
        self._abandoned: deque[int] = deque()

    def open(self, receiver: Receiver, request: bytes) -> int:
        """Sends a fetch's request; what comes for it goes to `receiver`. Fetches count up from 1 in the order sent."""
        self._abort_abandoned()
        with self.lock:
            self._last_fetch += 1
            self._receivers[self._last_fetch] = receiver
            self.link.send(messages.FETCH, self._last_fetch, request)
            return self._last_fetch

    def close(self, fetch: int) -> None:
        """What still comes for it is of no interest."""
        with self.lock:
            self._receivers.pop(fetch, None)

    def abandon(self, fetch: int) -> None:
        """Aborts a fetch at the next occasion. For finalizers: they run anywhere, locks of this thread held or not."""
        self._abandoned.append(fetch)

    def _abort_abandoned(self) -> None:
        while self._abandoned:
            fetch = self._abandoned.popleft()
            self.close(fetch)
            self.link.send(messages.FETCH_ABORT, fetch)

    def poll(self) -> None:
        """Takes what is there already, unless somebody else is reading."""
        with self.lock:
            if self._is_read:
                return
            self._is_read = True
        self._read(0)

    def wait_for(self, is_due: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits until `is_due`, which is called with the lock held. False when `seconds` were over before."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            with self.lock:
                while True:
                    if is_due():
                        return True
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    if not self._is_read:
                        self._is_read = True
                        break
                    self.lock.wait(left)
            self._read(left)

    def _read(self, seconds: float | None) -> None:
        message: Message | None = None
        try:
            message = self.link.receive(seconds)
        finally:
            with self.lock:
                self._is_read = False
                if message is not None:
                    self._dispatch(*message)
                self.lock.notify_all()

    def _dispatch(self, kind: int, number: int, body: bytes) -> None:
        if kind == messages.CANCEL:
            self.is_cancelled = True
        elif receiver := self._receivers.get(number):
            receiver.receive(kind, number, body)
