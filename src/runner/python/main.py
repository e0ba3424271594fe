"""Starts the runner: `python3 -I -S -B main.py [--scratch FOLDER]...`; README.md says why these flags."""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PACKAGES_OF_MACHINE = ("site-packages", "dist-packages")

# Only for this import: submodules are found through their package, and steps are to find nothing here.
sys.path.insert(0, _FOLDER)
from millrace_runner.boot import boot  # noqa: E402

# What packages a step may import, its program says; those of a developer's machine are none of them.
sys.path[:] = [
    folder
    for folder in sys.path
    if os.path.abspath(folder) != _FOLDER and os.path.basename(folder) not in _PACKAGES_OF_MACHINE
]

if __name__ == "__main__":
    boot(sys.argv[1:])
