"""The modules that every slot has from the start: imported once in the template, shared by all forks, and verified."""

import gc
import importlib
import sys
from typing import Final

# What steps commonly import. Each costs memory in every process, and time in every check: measure before adding one.
MODULES: Final = (
    "asyncio",
    "base64",
    "collections.abc",
    "concurrent.futures",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "inspect",
    "io",
    "itertools",
    "json",
    "logging",
    "math",
    "operator",
    "pathlib",
    "random",
    "re",
    "secrets",
    "string",
    "subprocess",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "typing",
    "urllib.parse",
    "uuid",
    # What asyncio, json and the import system take at their first use.
    "concurrent.futures.thread",
    "_strptime",
)


def preload() -> None:
    """Imports the baseline, and does once what modules put off until their first use."""
    for name in MODULES:
        importlib.import_module(name)
    _finish_lazy_state()


def freeze() -> None:
    """Moves all objects out of the garbage collector's sight: in a slot it looks at those of the run alone."""
    gc.collect()
    gc.freeze()


def _finish_lazy_state() -> None:
    asyncio = sys.modules["asyncio"]
    asyncio.run(asyncio.sleep(0))
    sys.modules["tempfile"]._get_candidate_names()
    sys.modules["time"].strptime("2026", "%Y")
    sys.modules["uuid"].uuid4()
    # A name that its package looks up at its first use.
    assert sys.modules["concurrent.futures"].ThreadPoolExecutor
