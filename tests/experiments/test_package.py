"""`minicnn.experiments` gives the functions, although files have the same names."""

import importlib
import subprocess
import sys
from types import FunctionType

import pytest

from minicnn import experiments
from minicnn.cli import COMMANDS, GROUPS

NAMES = [name for name in dir(experiments) if name in experiments._FUNCTIONS]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_same_name_does_not_hide_the_function(name):
    for _, (module, _) in [*COMMANDS.items(), *(entry for _, group in GROUPS.values() for entry in group.items())]:
        if module.startswith("minicnn.experiments"):
            importlib.import_module(module)
    assert isinstance(getattr(experiments, name), FunctionType)
    assert isinstance(getattr(experiments, name), FunctionType)  # also the second time


def test_the_functions_are_imported_when_they_are_first_used():
    code = "import sys, minicnn.experiments; assert not [m for m in sys.modules if m.startswith('minicnn.exp')][1:]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_name_is_an_attribute_error():
    assert not hasattr(experiments, "salience")
