"""Starts the runner: `python3 -I -S -B -X utf8 main.py [--scratch FOLDER]...`; README.md says why these flags."""

import os
import sys

# -I leaves the script's own folder out of sys.path. It is needed only here: submodules are found through their package.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from millrace_runner.boot import boot  # noqa: E402

del sys.path[0]

if __name__ == "__main__":
    boot(sys.argv[1:])
