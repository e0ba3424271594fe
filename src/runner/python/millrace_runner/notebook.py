"""What a notebook's module is made of (src/core/bundle/notebook.ts): its cells, run in order in one namespace."""

import ast
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from types import CodeType, ModuleType
from typing import Any, Final

from .importer import show_lines

_MAIN: Final = "__main__"
_OUTPUT: Final = "output"


def make_run(path: str, cells: str) -> Callable[[Any, Any], Awaitable[Any]]:
    """Makes `run` of cells, which are JSON: a list of [number, source]. Raises SyntaxError with the cell as its file.

    Cells are named like files: `analysis.ipynb#cell-3`. They see `ctx`, `input` and `display`. What the step returns is
    the variable `output`, else the value of the last expression of the last cell. As in Jupyter, an event loop is
    running, so that cells may `await`.
    """
    codes: list[CodeType] = []
    for number, source in json.loads(cells):
        filename = f"{path}#cell-{number}"
        show_lines(filename, source)
        codes += _compile(filename, source)

    async def run(ctx: Any, input: Any) -> Any:
        module = ModuleType(_MAIN)
        module.__dict__.update(ctx=ctx, input=input, display=_display)
        # What cells define says that it belongs to __main__; pickle and dataclasses look there for it.
        outer = sys.modules[_MAIN]
        sys.modules[_MAIN] = module
        try:
            value = None
            for code in codes:
                value = eval(code, module.__dict__)
                if code.co_flags & inspect.CO_COROUTINE:
                    value = await value
            return module.__dict__.get(_OUTPUT, value)
        finally:
            sys.modules[_MAIN] = outer

    return run


def _compile(filename: str, source: str) -> list[CodeType]:
    """The statements of a cell, and the expression at its end, if there is one: evaluating it gives its value."""
    tree = ast.parse(source, filename)
    last = tree.body[-1] if tree.body else None
    parts: list[tuple[ast.Module | ast.Expression, str]] = [(tree, "exec")]
    if isinstance(last, ast.Expr):
        tree.body.pop()
        parts.append((ast.Expression(last.value), "eval"))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [compile(part, filename, mode, flags=flags, dont_inherit=True) for part, mode in parts]


def _display(*values: object) -> None:
    """What Jupyter shows below a cell, as log entries."""
    for value in values:
        print(value)
