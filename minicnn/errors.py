"""Errors that a user can cause: one line that says what was wrong, what was expected, and where."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Iterable
from typing import Any


class MinicnnError(ValueError):
    """Bad input. The command line prints its text in one line and exits with status 2."""


# What a terminal obeys rather than shows: control characters, other ends of lines, changes of the direction of text.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""A text that comes from a file, with escapes (`\x1b`) for the characters that a terminal obeys."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint with the right names nearest to `name`: "; did you mean 'relu3'?", or the choices where none is near.

    Those come first that have it as one of their words: of "cat", "tiger cat" and not "crate".
    """
    known = list(choices)
    with_it = [n for n in known if name.lower() in re.split(r"[\W_]+", n.lower())]
    near = list(dict.fromkeys([*with_it, *difflib.get_close_matches(name, known, n=3, cutoff=0.5)]))[:3]
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"; there is: {shown}" if known else ""


def whole_number(what: str, value: Any, least: int, most: int | None = None) -> int:
    """`value`, which is `what`, as an int; bools do not count. Raises MinicnnError for none from `least` to `most`."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        expected = f"{least} or more" if most is None else f"{least} to {most}"
        raise MinicnnError(f"{what} {value!r}: expected {expected}, a whole number")
    return number
