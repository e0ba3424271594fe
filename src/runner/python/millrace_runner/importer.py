"""Imports of a program's modules, from memory."""

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import posixpath
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any, Final

# What a package's __path__ has, so that its submodules are looked for in the program and nowhere else.
_FOLDER_PREFIX: Final = "program:"
_NAMELESS_ENTRY: Final = "__step__"


class Program:
    """The source of a program, and what was compiled of it in this process."""

    def __init__(self, entry: str, files: dict[str, str], packages: str | None) -> None:
        self.entry = entry
        self.files = files
        self.packages = packages
        self._folders = {folder for path in files for folder in _folders_of(path)}
        self._code: dict[str, CodeType] = {}

    def has_folder(self, path: str) -> bool:
        """Whether any module is below it, so that it is a package even without __init__.py."""
        return path in self._folders

    def code(self, path: str) -> CodeType:
        """Raises SyntaxError, or ValueError for a file with a NUL."""
        if path not in self._code:
            self._code[path] = compile(self.files[path], path, "exec", dont_inherit=True)
        return self._code[path]

    def is_own(self, filename: str) -> bool:
        """Whether a frame's file is the author's; a notebook's cells are `analysis.ipynb#cell-3`."""
        return filename in self.files or ("#" in filename and filename.partition("#")[0] in self.files)

    def show_source(self) -> None:
        """Lets tracebacks, warnings and `inspect` find the lines."""
        for path, text in self.files.items():
            show_lines(path, text)


def show_lines(filename: str, text: str) -> None:
    """A time of None keeps linecache from looking for the file."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


class ProgramFinder(importlib.abc.MetaPathFinder):
    """Finds modules beside the entry, then below the program's root. Names of the standard library always mean it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        entry_folder = posixpath.dirname(program.entry)
        self._roots = [entry_folder, ""] if entry_folder else [""]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None:
            if fullname in sys.stdlib_module_names:
                return None
            folders = self._roots
        else:
            folders = [place.removeprefix(_FOLDER_PREFIX) for place in path if place.startswith(_FOLDER_PREFIX)]
        name = fullname.rpartition(".")[2]
        for folder in folders:
            if spec := self._spec_at(fullname, posixpath.join(folder, name)):
                return spec
        return None

    def load_entry(self) -> ModuleType:
        """Runs the entry's module, under the dotted name of its path, so that its relative imports work."""
        path = self._program.entry
        name = self._name_of_entry()
        if package := name.rpartition(".")[0]:
            importlib.import_module(package)
        spec = self._module_spec(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        ProgramLoader(self._program, path).exec_module(module)
        return module

    def _name_of_entry(self) -> str:
        parts = posixpath.splitext(self._program.entry)[0].split("/")
        name = ".".join(parts)
        # A path that names another module already, or cannot be a module's name, still has to run.
        is_taken = parts[0] in sys.stdlib_module_names or name in sys.modules
        return _NAMELESS_ENTRY if is_taken or any("." in part for part in parts) else name

    def _spec_at(self, fullname: str, path: str) -> importlib.machinery.ModuleSpec | None:
        files = self._program.files
        if (init := f"{path}/__init__.py") in files:
            return self._module_spec(fullname, init, folder=path)
        if (file := f"{path}.py") in files:
            return self._module_spec(fullname, file)
        if self._program.has_folder(path):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [_FOLDER_PREFIX + path]
            return spec
        return None

    def _module_spec(self, fullname: str, path: str, folder: str | None = None) -> importlib.machinery.ModuleSpec:
        loader = ProgramLoader(self._program, path)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=path, is_package=folder is not None)
        if folder is not None:
            spec.submodule_search_locations = [_FOLDER_PREFIX + folder]
        return spec


class ProgramLoader(importlib.abc.InspectLoader):
    """Runs one file of a program as a module."""

    def __init__(self, program: Program, path: str) -> None:
        self._program = program
        self._path = path

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._path
        exec(self._program.code(self._path), module.__dict__)

    def get_source(self, fullname: str) -> str:
        return self._program.files[self._path]

    def get_code(self, fullname: str) -> CodeType:
        return self._program.code(self._path)

    def is_package(self, fullname: str) -> bool:
        return posixpath.basename(self._path) == "__init__.py"


def install(program: Program) -> ProgramFinder:
    """Makes a program's modules, and its packages' folder, importable. hygiene.py takes both away again."""
    finder = ProgramFinder(program)
    # Before the finder of files, so that the author's modules come before those of packages.
    sys.meta_path.insert(_index_of_path_finder(), finder)
    if program.packages:
        sys.path.append(program.packages)
    program.show_source()
    return finder


def is_unresolved(name: str | None) -> bool:
    """Whether the first part of a module's name is nowhere: neither program, packages nor the standard library."""
    top = (name or "").partition(".")[0]
    if not top or top in sys.stdlib_module_names:
        return False
    try:
        return top not in sys.modules and importlib.util.find_spec(top) is None
    except (ImportError, ValueError):
        return False


def _index_of_path_finder() -> int:
    finders: list[Any] = sys.meta_path
    return finders.index(importlib.machinery.PathFinder) if importlib.machinery.PathFinder in finders else len(finders)


def _folders_of(path: str) -> list[str]:
    folders: list[str] = []
    while path := posixpath.dirname(path):
        folders.append(path)
    return folders
