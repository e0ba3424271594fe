"""`ctx`, what the author's code is given besides its input."""

import json
from typing import Any, Final, NoReturn

from .capture import LogEntry
from .errors import Cancelled, RetryableError, TerminalError
from .fetch import Fetcher
from .lines import to_entry
from .mailbox import Mailbox


class Record(dict[str, Any]):
    """Values by key or by attribute, read only; a dict for everything that takes one, json.dumps included."""

    __slots__ = ("_hint",)

    def __init__(self, values: dict[str, Any], hint: str) -> None:
        super().__init__((key, _frozen(value, hint)) for key, value in values.items())
        object.__setattr__(self, "_hint", hint)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(self._hint.format(name))

    def __missing__(self, key: object) -> NoReturn:
        raise KeyError(self._hint.format(key))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """A copy may be changed: it is a dict."""
        return dict, (dict(self),)

    def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        raise TypeError("values of ctx are read only: make a copy with dict(value)")

    __setattr__ = __delattr__ = __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def _frozen(value: Any, hint: str) -> Any:
    return Record(value, hint) if type(value) is dict else value


class Log:
    """`ctx.log`. `ctx.log.info("%s orders", 3, customer="c1")` writes `3 orders {"customer": "c1"}`."""

    __slots__ = ("_emit",)

    def __init__(self, emit: LogEntry) -> None:
        self._emit = emit

    def debug(self, message: object, *args: object, **fields: object) -> None:
        self._emit("debug", _format(message, args, fields))

    def info(self, message: object, *args: object, **fields: object) -> None:
        self._emit("info", _format(message, args, fields))

    def warn(self, message: object, *args: object, **fields: object) -> None:
        self._emit("warn", _format(message, args, fields))

    warning = warn

    def error(self, message: object, *args: object, **fields: object) -> None:
        self._emit("error", _format(message, args, fields))


def _format(message: object, args: tuple[object, ...], fields: dict[str, object]) -> bytes:
    if isinstance(message, str):
        text = message
        if args:
            try:
                text = message % args
            except (TypeError, ValueError):
                text = " ".join([message, *map(_to_text, args)])
    else:
        text = " ".join(map(_to_text, (message, *args)))
    return to_entry(f"{text} {_to_text(fields)}" if fields else text)


def _to_text(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        try:
            return json.dumps(value, ensure_ascii=False, default=str)
        except (TypeError, ValueError):
            pass
    return str(value)


class Signal:
    """`ctx.signal`: tells that the step is to stop, because its time is over or its execution was cancelled."""

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def aborted(self) -> bool:
        if not self._mailbox.is_cancelled:
            self._mailbox.poll()
        return self._mailbox.is_cancelled

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the step is to stop; False when it is not after `timeout` seconds."""
        return self._mailbox.wait_for(lambda: self._mailbox.is_cancelled, timeout)

    def throw_if_aborted(self) -> None:
        """Ends the step here when it is to stop."""
        if self.aborted:
            raise Cancelled("the step was cancelled")


_SECRET_HINT: Final = "no secret `{}`: list its name under the step's `secrets:`"
_CONFIG_HINT: Final = "no `{}` in the workflow's `config:`"
_PLAIN_HINT: Final = "no `{}` here"


class Context:
    """What `run(ctx, input)` gets as `ctx`; README.md describes each attribute."""

    TerminalError = TerminalError
    RetryableError = RetryableError

    def __init__(self, values: dict[str, Any], mailbox: Mailbox, emit: LogEntry) -> None:
        self.execution = Record(values["execution"], _PLAIN_HINT)
        self.workflow = Record(values["workflow"], _PLAIN_HINT)
        self.step = Record(values["step"], _PLAIN_HINT)
        self.config = Record(values["config"], _CONFIG_HINT)
        self.secrets = Record(values["secrets"], _SECRET_HINT)
        self.idempotency_key: str = values["idempotencyKey"]
        self.fetch = Fetcher(mailbox)
        self.log = Log(emit)
        self.signal = Signal(mailbox)

    @property
    def idempotencyKey(self) -> str:  # noqa: N802 - the name it has in JavaScript
        return self.idempotency_key
