"""Whether a run left anything behind in its process, and putting back what may be put back.

This keeps honest steps from stumbling over each other; against hostile ones gVisor is the wall, and the slots of a
sandbox belong to one version of one workflow. So it may take what Python code does to Python state at its word, and has
to be cheap: it runs after every step.
"""

import _locale
import _signal  # type: ignore[import-not-found]  # typeshed has only `signal`
import _thread
import atexit
import decimal
import functools
import gc
import importlib.machinery
import operator
import os
import signal
import socket
import sys
import time
import types
from collections.abc import Iterable, Iterator
from typing import Any, Final

from . import limits

_HEAP_TYPE: Final = 1 << 9
# Tables larger than this are not compared, but for their length: nobody patches them, and they would cost the most.
_MAX_COMPARED: Final = 64
# Written to by warnings and `typing` as a matter of course.
_BENIGN_NAMES: Final = frozenset({"__warningregistry__", "__annotations__"})
# Large tables that steps have no business with; `posix` is the C half of `os`.
_UNWATCHED_MODULES: Final = frozenset({"ast", "dis", "errno", "opcode", "posix", "token", "tokenize"})
# Tables that change by themselves, or are looked after by others: `purge`, volatile.py.
_UNWATCHED: Final = frozenset(
    {
        "__all__",
        "__builtins__",
        "__warningregistry__",
        "_active",
        "_limbo",
        "_value2member_map_",
        "modules",
        "path_importer_cache",
    }
)
_MAX_GROWTH_BYTES: Final = 48 * 1_048_576
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_UMASK: Final = 0o022
_FIRST_FREE_FD: Final = 4
# The only ways for Python code to the limits of its process; asking for all of them costs 0.2 ms in gVisor.
_WAYS_TO_LIMITS: Final = frozenset({"resource", "_ctypes"})


class Snapshot:
    """The state of Python in a slot that has run nothing yet."""

    def __init__(self) -> None:
        self._modules = dict(sys.modules)
        self._names: list[str] = []
        live: list[Any] = []
        saved: list[Any] = []
        for name, state in _watched():
            self._names.append(name)
            live.append(state)
            saved.append(_copy_of(state))
        # Two lists that are compared as one: the loop over two thousand tables is C's.
        self._live = live
        self._saved = saved
        self._builtins = list(vars(sys.modules["builtins"]).values())
        self._path = list(sys.path)
        self._importers = dict(sys.path_importer_cache)
        self._meta_path = list(sys.meta_path)
        self._path_hooks = list(sys.path_hooks)
        self._caches = list(_function_caches())

    def imported(self) -> list[str]:
        """The modules that came since."""
        return [name for name in sys.modules if name not in self._modules]

    def purge(self) -> bool:
        """Removes all that was imported since. False when some of it stays in the process nevertheless."""
        is_whole = True
        modules = sys.modules
        for name in self.imported():
            module = modules.pop(name)
            if _is_foreign_extension(module):
                is_whole = False
            self._detach(name, module)
        sys.path[:] = self._path
        sys.meta_path[:] = self._meta_path
        sys.path_hooks[:] = self._path_hooks
        sys.path_importer_cache.clear()
        sys.path_importer_cache.update(self._importers)
        return is_whole

    def accept_fork(self) -> None:
        """Takes what forking itself has changed, such as locks that were made anew."""
        if self._live != self._saved:
            for index, (live, saved) in enumerate(zip(self._live, self._saved, strict=True)):
                if live != saved:
                    self._saved[index] = _copy_of(live)

    def _detach(self, name: str, module: types.ModuleType) -> None:
        """Takes a submodule out of its package, where the import has put it."""
        parent, _, child = name.rpartition(".")
        package = self._modules.get(parent)
        if package is not None and vars(package).get(child) is module:
            del vars(package)[child]

    def clear_caches(self) -> None:
        for cache in self._caches:
            cache.cache_clear()

    def differences(self) -> list[str]:
        """What is not as it was: names of modules and classes, with the attribute where it can be told."""
        found: list[str] = []
        if sys.modules != self._modules:
            found.append("sys.modules")
        if not all(map(operator.is_, vars(sys.modules["builtins"]).values(), self._builtins)):
            found.append("builtins")
        try:
            if self._live == self._saved:
                return found
        except Exception:
            # The comparison asked an object that was put there.
            return [*found, "an attribute of a module"]
        for name, live, saved in zip(self._names, self._live, self._saved, strict=True):
            if live != saved and (difference := _difference(live, saved)) is not None:
                found.append(f"{name}{difference}")
        return found


def _copy_of(table: Any) -> Any:
    return type(table)(table) if isinstance(table, list | set) else dict(table)


class Process:
    """What a slot's process has from the kernel and the interpreter before its first run."""

    def __init__(self) -> None:
        self._environ = dict(os.environ)
        self._streams = _identities()
        self._handlers = _handlers()
        self._limits = limits.current_limits()
        self._most_bytes = limits.peak_memory_bytes() + _MAX_GROWTH_BYTES
        self._interpreter = _interpreter_state()

    def restore(self) -> None:
        """Puts back what can be put back for sure, whether it was changed or not."""
        os.chdir("/")
        os.umask(_UMASK)
        os.closerange(_FIRST_FREE_FD, limits.MAX_OPEN_FILES)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if self._environ != os.environ:
            os.environ.clear()
            os.environ.update(self._environ)
            time.tzset()
        for timer in _TIMERS:
            signal.setitimer(timer, 0)

    def differences(self, may_have_changed_limits: bool) -> list[str]:
        """What else is not as it was, and cannot be put back."""
        found: list[str] = []
        if _thread._count() > 0:
            found.append("a thread is still running")
        if _has_children():
            found.append("a process is still running")
        if self._streams != _identities():
            found.append("stdin, stdout or stderr was replaced")
        if self._handlers != _handlers():
            found.append("a signal handler was set")
        if self._interpreter != (state := _interpreter_state()):
            changed = [name for name, value in state.items() if self._interpreter[name] != value]
            found.append(f"{', '.join(changed)} was changed")
        if may_have_changed_limits and self._limits != limits.current_limits():
            found.append("a resource limit was changed")
        return found

    def is_large(self) -> bool:
        """Whether it has used so much memory that a new process is better: the allocator gives little of it back."""
        return limits.peak_memory_bytes() > self._most_bytes


def may_change_limits(imported: Iterable[str]) -> bool:
    return not _WAYS_TO_LIMITS.isdisjoint(imported)


def _watched() -> Iterator[tuple[str, Any]]:
    """The name and table of each module, of each class in one, and of the small containers in both."""
    seen: set[int] = set()
    for name, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or id(module) in seen:
            continue
        if name in _UNWATCHED_MODULES or _is_accelerator(name, module):
            continue
        seen.add(id(module))
        yield name, vars(module)
        yield from _watched_in(name, vars(module), seen)


def _is_accelerator(name: str, module: types.ModuleType) -> bool:
    """Whether it is the C half of a module: what Python code uses of it, it finds in the other half."""
    return name.startswith("_") and not getattr(module, "__file__", "").endswith(".py")


def _watched_in(owner: str, table: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for name, value in list(table.items()):
        is_class = isinstance(value, type) and value.__flags__ & _HEAP_TYPE
        is_container = type(value) in (dict, list, set) and len(value) <= _MAX_COMPARED
        if name in _UNWATCHED or not (is_class or is_container) or id(value) in seen:
            continue
        seen.add(id(value))
        if is_class:
            yield f"{owner}.{name}", vars(value)
            yield from _watched_in(f"{owner}.{name}", vars(value), seen)
        else:
            yield f"{owner}.{name}", value


def _function_caches() -> Iterator[Any]:
    cache_type = type(functools.lru_cache(lambda: None))
    for module in list(sys.modules.values()):
        yield from (value for value in vars(module).values() if isinstance(value, cache_type))


def _difference(live: Any, saved: Any) -> str | None:
    """The first name that differs; None when only benign ones do, which are taken away."""
    if not isinstance(live, dict | types.MappingProxyType):
        return ""
    for name in (live.keys() | saved.keys()) - _BENIGN_NAMES:
        if name not in live or name not in saved or live[name] is not saved[name]:
            return f".{name}"
    if isinstance(live, dict):
        for name in _BENIGN_NAMES & (live.keys() - saved.keys()):
            del live[name]
    return None


def _is_foreign_extension(module: Any) -> bool:
    """Whether it is compiled code of a package: most of them cannot be loaded twice into one process."""
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    return isinstance(loader, importlib.machinery.ExtensionFileLoader) and "lib-dynload" not in loader.path


def _has_children() -> bool:
    """Descendants whose parent ended are children of the slot as well (kernel.adopt_orphans)."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _identities() -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for fd in range(3):
        try:
            status = os.fstat(fd)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _handlers() -> list[Any]:
    # The C function: the other one makes an enum of each answer.
    return [_signal.getsignal(number) for number in range(1, _signal.NSIG)]


def _interpreter_state() -> dict[str, object]:
    return {
        "sys.getrecursionlimit": sys.getrecursionlimit(),
        "sys.getswitchinterval": sys.getswitchinterval(),
        "sys.gettrace": sys.gettrace(),
        "sys.getprofile": sys.getprofile(),
        "sys.get_int_max_str_digits": sys.get_int_max_str_digits(),
        "sys.get_asyncgen_hooks": sys.get_asyncgen_hooks(),
        "gc.isenabled": gc.isenabled(),
        "gc.get_threshold": gc.get_threshold(),
        "gc.get_debug": gc.get_debug(),
        "gc.callbacks": len(gc.callbacks),
        "atexit": atexit._ncallbacks(),
        "socket.getdefaulttimeout": socket.getdefaulttimeout(),
        "locale.setlocale": _locale.setlocale(_locale.LC_ALL, None),
        "decimal.DefaultContext": repr(decimal.DefaultContext),
    }
