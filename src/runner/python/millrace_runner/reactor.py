"""The event loop of main: callbacks for descriptors and times, in one thread, with nothing that could be waited for."""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Final

Callback = Callable[[], None]

_READ_EVENTS: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Timer:
    """Something to be done later; `cancel` takes it back."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Reactor:
    """Calls `read` and `write` callbacks while their descriptor is ready, and timers when they are due."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._forgotten: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def on_readable(self, fd: int, callback: Callback | None) -> None:
        """None takes the callback away; end of file and errors count as readable."""
        self._set(self._readers, fd, callback)

    def on_writable(self, fd: int, callback: Callback | None) -> None:
        self._set(self._writers, fd, callback)

    def forget(self, fd: int) -> None:
        """To be called before a descriptor is closed. Idempotent."""
        self._set(self._readers, fd, None)
        self._set(self._writers, fd, None)

    def after(self, seconds: float, callback: Callback) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def run_forever(self) -> None:
        """Ends only by an exception of a callback."""
        while True:
            self._forgotten.clear()
            for fd, events in self._poll.poll(self._milliseconds_to_timer()):
                # A callback may have closed the descriptor of a later event, and another may have its number now.
                if fd in self._forgotten:
                    continue
                if events & _READ_EVENTS and (read := self._readers.get(fd)):
                    read()
                if events & ~select.POLLIN and (write := self._writers.get(fd)):
                    write()
            self._call_timers()

    def _set(self, callbacks: dict[int, Callback], fd: int, callback: Callback | None) -> None:
        if callback is None:
            if callbacks.pop(fd, None) is None:
                return
            self._forgotten.add(fd)
        else:
            callbacks[fd] = callback
        events = (select.POLLIN if fd in self._readers else 0) | (select.POLLOUT if fd in self._writers else 0)
        if events:
            self._poll.register(fd, events)
        else:
            # Without any event poll would still report hang-ups, over and over.
            self._poll.unregister(fd)

    def _milliseconds_to_timer(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic()) * 1000 + 1

    def _call_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if timer.callback:
                timer.callback()
