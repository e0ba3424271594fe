"""State of the standard library that ordinary code changes: it is put back, rather than held against the run."""

import asyncio
import linecache
import logging
import random
import re
import sys
import tempfile
import threading
import warnings
from typing import Any, Final, cast

from . import limits
from .capture import LogHandler

# Of all handlers, for logging.shutdown().
_HANDLER_LIST: Final[list[Any]] = vars(logging)["_handlerList"]
ROOT_LEVEL: Final = logging.INFO


class LoggingState:
    """The loggers as they are before any run; those that a run has made are forgotten after it."""

    def __init__(self, handler: LogHandler) -> None:
        self.handler = handler
        root = logging.root
        root.handlers[:] = [handler]
        root.setLevel(ROOT_LEVEL)
        self._known = {name: self._save(logger) for name, logger in logging.root.manager.loggerDict.items()}
        self._root = self._save(root)
        self._manager = dict(vars(root.manager))
        self._handler = dict(vars(handler))
        self._handler_list = list(_HANDLER_LIST)

    def restore(self) -> None:
        manager = logging.root.manager
        vars(manager).update(self._manager)
        for name in [name for name in manager.loggerDict if name not in self._known]:
            del manager.loggerDict[name]
        for name, saved in self._known.items():
            self._load(manager.loggerDict[name], saved)
        self._load(logging.root, self._root)
        self._load(self.handler, (self._handler, None))
        _HANDLER_LIST[:] = self._handler_list

    def _save(self, logger: Any) -> tuple[dict[str, Any], list[Any] | None]:
        handlers = getattr(logger, "handlers", None)
        return dict(vars(logger)), None if handlers is None else list(handlers)

    def _load(self, target: Any, saved: tuple[dict[str, Any], list[Any] | None]) -> None:
        state, handlers = saved
        attributes = vars(target)
        if attributes != state:
            attributes.clear()
            attributes.update(state)
        if handlers is not None and target.handlers != handlers:
            target.handlers[:] = handlers
        if cache := attributes.get("_cache"):
            cache.clear()


_WARNING_FILTERS: Final = list(warnings.filters)


def begin_run() -> None:
    """What has to be fresh in each run, not merely as it was."""
    random.seed()
    # There is no way to ask for it without setting it.
    threading.stack_size(limits.THREAD_STACK_BYTES)


def reset() -> None:
    """Forgets what the standard library has kept of a run."""
    linecache.clearcache()
    re.purge()
    tempfile.tempdir = None
    sys.argv[:] = [""]
    _reset_warnings()
    _forget_event_loop()


def _reset_warnings() -> None:
    vars(warnings)["onceregistry"].clear()
    if warnings.filters != _WARNING_FILTERS:
        # Tells the C half, too, as changing the list alone would not.
        warnings.resetwarnings()
        cast(list[Any], warnings.filters)[:] = _WARNING_FILTERS


def _forget_event_loop() -> None:
    """The policy remembers that there was a loop; `asyncio.get_event_loop()` would behave otherwise in the next run."""
    policy: Any = getattr(asyncio.events, "_event_loop_policy", None)
    local = getattr(type(policy), "_Local", None)
    if local is not None:
        policy._local = local()
