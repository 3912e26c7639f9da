"""What the tests of commands share: a way to run one as a person types it."""

import pytest

from minicnn.cli import main


@pytest.fixture
def minicnn(capsys):
    """Runs a command line: (exit status, what it printed, what it complained of)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return run
