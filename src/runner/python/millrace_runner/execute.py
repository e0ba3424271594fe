"""Running an author's program once."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from . import importer
from .context import Context
from .failures import MissingExport
from .importer import Program
from .output import InvalidOutput, encode_output


def execute(program: Program, ctx: Context, input: object, max_output_bytes: int) -> bytes:
    """Runs `run(ctx, input)` in fresh modules and gives what it returned as JSON. Raises whatever it raises."""
    module = importer.install(program).load_entry()
    run = getattr(module, "run", None)
    if not callable(run):
        found = "no function `run`" if run is None else f"`run`, which is {type(run).__name__} and no function"
        raise MissingExport(f"{program.entry} has {found}: define `def run(ctx, input):` at its top level")
    value = run(ctx, input)
    if inspect.isawaitable(value):
        value = asyncio.run(_wait_for(value))
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise InvalidOutput("`output` is a generator, since `run` has `yield`: return a list")
    return encode_output(value, max_output_bytes)


async def _wait_for(value: Awaitable[Any]) -> Any:
    return await value
