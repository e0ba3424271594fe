"""Puts into a folder what program.py needs in an image that has none of it: `python3 -I -S -B provide.py FOLDER`.

These are the files that it has loaded here when it is ready to run: modules, the interpreter, libraries and their loader, which is `lib/ld.so` there, so that nobody
has to know for which processor it is. What Python has is there under its own path, and what it is linked with in `lib`.
"""

import os
import sys
from typing import Final

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import program  # noqa: E402

_PIECE_BYTES: Final = 1_048_576


def main(folder: str) -> None:
    needed = {sys.executable: folder + sys.executable}
    for module in list(sys.modules.values()):
        # The runner's image has modules compiled; elsewhere that may be missing.
        for file in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
            if file is not None and os.path.exists(file):
                needed[file] = folder + file
    for file in _mapped():
        if file not in needed and not os.path.samefile(file, sys.executable):
            needed |= {source: os.path.join(folder, "lib", name) for source, name in _names(file)}
    for source, target in needed.items():
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _copy(source, target)


def _mapped() -> set[str]:
    """Files whose code this process has in its memory (proc(5), /proc/pid/maps)."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        places = [line.split(maxsplit=5) for line in maps]
    return {place[5].rstrip("\n") for place in places if len(place) == 6 and "x" in place[1] and place[5].startswith("/")}


def _names(library: str) -> list[tuple[str, str]]:
    """A library is looked for under the name of a link to it: libffi.so.8 is libffi.so.8.1.2."""
    folder, name = os.path.split(library)
    if name.startswith("ld-"):
        return [(library, "ld.so")]
    others = (os.path.join(folder, other) for other in os.listdir(folder) if ".so" in other)
    return [(other, os.path.basename(other)) for other in others if os.path.realpath(other) == os.path.realpath(library)]


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as original, open(target, "wb") as copy:
        while piece := original.read(_PIECE_BYTES):
            copy.write(piece)
    os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: provide.py FOLDER")
    main(sys.argv[1])
