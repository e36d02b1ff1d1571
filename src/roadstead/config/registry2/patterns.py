r"""Translates Go's regular expressions into Python's, or refuses them.

The two languages agree on nearly everything that people write. What would silently mean something else is translated
(``$`` and ``\z``: at the end of the text only; ``[[:alpha:]]``) or refused (``\pN``, ``\Q…\E``, ``\C``, and flags that
Python does not have).
"""

import re
import warnings
from typing import Final

_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_CLASS: Final = re.compile(r"\[:(\w+):\]")
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|.", re.DOTALL)
_REFUSED_ESCAPES: Final = frozenset("pPQEC")
_MULTILINE: Final = re.compile(r"\(\?[a-zA-Z]*m")


def from_go(pattern: str) -> str:
    """Returns the same pattern for ``re``.

    Raises:
        ValueError: it cannot be said in Python, or is no pattern in Go.
    """
    ends = "$" if _MULTILINE.search(pattern) else r"\Z"
    pieces = [_translate(match.group(0), ends) for match in _TOKEN.finditer(pattern)]
    translated = "".join(pieces)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(translated, re.ASCII)
        except (re.error, Warning, RecursionError, OverflowError) as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return translated


def _translate(piece: str, ends: str) -> str:
    if piece == "$":
        return ends
    if piece == r"\z":
        return r"\Z"
    if piece.startswith("\\") and piece[1] in _REFUSED_ESCAPES:
        raise ValueError(f"{piece} is not supported in a regular expression")
    if piece.startswith("[") and len(piece) > 1:
        return _CLASS.sub(_members, piece)
    return piece


def _members(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in _CLASSES:
        raise ValueError(f"[:{name}:] is no class of characters")
    return _CLASSES[name]
