"""The errors that author's code raises or meets through `ctx`. Tracebacks name them as `millrace.TerminalError`."""


class TerminalError(Exception):
    """Raised by a step that can never succeed: it is not tried again."""

    __module__ = "millrace"


class RetryableError(Exception):
    """Raised by a step that may succeed later; `retry_after` is the least delay in seconds."""

    __module__ = "millrace"

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class FetchError(Exception):
    """`ctx.fetch` was refused or failed; `code` is one of the platform's error codes, such as `egress_denied`."""

    __module__ = "millrace"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cancelled(BaseException):
    """What a call of `ctx` that waits raises once the run is cancelled; no `except Exception` takes it by mistake."""

    __module__ = "millrace"
