"""Running a Python file of the user's own, and saying in one line what went wrong in it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from ..errors import MinicnnError


def load_file(path: Path) -> ModuleType:
    """Run a file and return its module. Raises MinicnnError with the file and the line of what goes wrong."""
    if not path.is_file():
        raise MinicnnError(f"{path}: no such file")
    name = f"own_code_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MinicnnError(f"{path}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses, pickles and tracebacks look for it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise MinicnnError(what_went_wrong(error, path)) from error
    return module


def what_went_wrong(error: BaseException, path: Path) -> str:
    """ "swish.py, line 12: NameError: name 'slope' is not defined": the last line of the file that was running."""
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    return f"{where}: {type(error).__name__}: {error}"
