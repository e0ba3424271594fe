"""The folders that a run may write to, and how they become empty again."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_FEW_FILES: Final = 32
_OWNER_ONLY: Final = 0o700
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def slot_folder(folders: Sequence[str], slot: int) -> str:
    """The TMPDIR of a slot; it is there only while a run is."""
    return os.path.join(folders[0], f"slot-{slot}")


def list_scratch(folders: Iterable[str]) -> set[str]:
    """The paths of what is in the scratch folders."""
    return {os.path.join(folder, name) for folder in folders for name in os.listdir(folder)}


def remove_small_folder(folder: str) -> None:
    """Removes a folder if it holds no more than a few files. Otherwise something of it stays."""
    try:
        os.rmdir(folder)
    except OSError:
        with contextlib.suppress(OSError):
            names = os.listdir(folder)
            if len(names) <= _FEW_FILES:
                for name in names:
                    os.unlink(os.path.join(folder, name))
                os.rmdir(folder)


def wipe_slot_folder(folders: Sequence[str], slot: int) -> None:
    """Removes a slot's folder with all that is in it."""
    top = os.open(folders[0], _OPEN_FOLDER)
    try:
        _remove_tree(top, f"slot-{slot}")
    finally:
        os.close(top)


def wipe(folder: str) -> None:
    """Removes all that is in `folder`, as far as this user may."""
    top = os.open(folder, _OPEN_FOLDER)
    try:
        for name in os.listdir(top):
            if not _remove(top, name):
                _remove_tree(top, name)
    finally:
        os.close(top)


def _remove_tree(top: int, name: str) -> None:
    """Takes a tree apart at the top: each folder in it is moved up before it is emptied.

    So no depth, and no length of a path, needs recursion or more than one descriptor.
    """
    waiting = [name]
    moved = 0
    while waiting:
        current = waiting.pop()
        for child in _empty(top, current):
            moved += 1
            target = f".wiping-{os.getpid()}-{moved}"
            if _try(os.rename, os.path.join(current, child), target, src_dir_fd=top, dst_dir_fd=top):
                waiting.append(target)
        _try(os.rmdir, current, dir_fd=top)


def _empty(top: int, name: str) -> list[str]:
    """Removes the files of a folder and gives the names of the folders in it."""
    # The author's code may have taken all rights from a folder of its own.
    _try(os.chmod, name, _OWNER_ONLY, dir_fd=top)
    try:
        folder = os.open(name, _OPEN_FOLDER, dir_fd=top)
    except OSError:
        return []
    try:
        children = [child for child in os.listdir(folder) if not _remove(folder, child)]
        for child in children:
            # A folder that is moved has its `..` written to.
            _try(os.chmod, child, _OWNER_ONLY, dir_fd=folder)
        return children
    finally:
        os.close(folder)


def _remove(folder: int, name: str) -> bool:
    """Removes a file; False when it is a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):
        return not _is_folder(folder, name)
    except OSError:
        pass
    return True


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _try(call: Callable[..., object], *args: object, **options: object) -> bool:
    try:
        call(*args, **options)
    except OSError:
        return False
    return True
