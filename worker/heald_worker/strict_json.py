"""JSON read as strictly as Rust's serde_json reads it into a struct, where Python's `json` is laxer.

No field twice, no `3.0` for a whole number, no byte order mark, no NaN, no lone surrogate in a text that is kept.
Unknown fields are passed over, whatever they hold, unless they nest deeper than `MAX_DEPTH`: there serde reads on.
A shape is declared by putting readers together: `an_object(Point, x=an_integer(0, 9), y=an_integer(0, 9))`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any, Never

MAX_DEPTH = 200
"""Arrays and objects inside each other that a document may hold, known and unknown ones."""

Reader = Callable[[object], Any]
"""Takes one value as `decode` parses it; answers what to keep of it, or raises `MalformedJson`."""


class MalformedJson(ValueError):
    """Not JSON, or not of the declared shape: what is wrong, and in which field (as `decisions[2].attempt`)."""

    def __init__(self, problem: str, field: str = "") -> None:
        self.problem, self.field = problem, field
        super().__init__(f"{field}: {problem}" if field else problem)

    def within(self, outer: str) -> MalformedJson:
        """The same complaint, seen from the value around it."""
        joint = "." if self.field and not self.field.startswith("[") else ""
        return MalformedJson(self.problem, outer + joint + self.field)


def decode(data: bytes, reader: Reader) -> Any:
    """Parse a document and read it into its shape.

    Raises:
        MalformedJson: it is no JSON in UTF-8, nests too deeply, or has another shape.
    """
    # Invalid UTF-8 becomes lone surrogates, which no kept text and no key of a known object may hold.
    text = data.decode("utf-8", "surrogateescape")
    if _too_deep(text):
        raise MalformedJson(f"holds more than {MAX_DEPTH} arrays and objects inside each other")
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"is not JSON: {error.msg.removesuffix(' at')} {where}") from None
    return reader(document)


_OTHER_NUMBER = object()
"""A number that is valid JSON and no whole number of a sane size: `-0`, `3.0`, `1e9`, or a number of 400 digits."""


def _whole_number(digits: str) -> object:
    return int(digits) if len(digits) < 16 and digits != "-0" else _OTHER_NUMBER


def _refuse_constant(name: str) -> Never:
    raise MalformedJson(f"is not JSON: {name}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple,  # an object becomes a tuple of its pairs, an array a list: no key is lost or merged
    parse_int=_whole_number,
    parse_float=lambda digits: _OTHER_NUMBER,
    parse_constant=_refuse_constant,
)
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def a_text(value: object) -> str:
    """Reader of a text that is valid Unicode."""
    if not isinstance(value, str):
        raise MalformedJson("is not a text")
    if not _is_unicode(value):
        raise MalformedJson("holds invalid UTF-8 or a lone surrogate")
    return value


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def a_switch(value: object) -> bool:
    """Reader of true and false."""
    if not isinstance(value, bool):
        raise MalformedJson("is neither true nor false")
    return value


def an_integer(least: int, most: int) -> Reader:
    """Reader of a whole number within bounds, written without fraction, exponent or `-0`."""

    def read(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise MalformedJson(f"is not a whole number from {least} to {most}")
        return value

    return read


def one_of(words: type[StrEnum]) -> Reader:
    """Reader of a word, or as serde reads it too, an object with the word as its only key and null behind it."""
    known = {word.value: word for word in words}

    def read(value: object) -> StrEnum:
        if isinstance(value, tuple) and len(value) == 1 and value[0][1] is None:
            value = value[0][0]
        if not isinstance(value, str) or value not in known:
            raise MalformedJson(f"is not one of {', '.join(known)}")
        return known[value]

    return read


def optional(reader: Reader) -> Reader:
    """Reader that also takes null."""
    return lambda value: None if value is None else reader(value)


def list_of(reader: Reader) -> Reader:
    """Reader of an array, as a tuple."""

    def read(values: object) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise MalformedJson("is not an array")
        return tuple([_read(reader, value, f"[{place}]") for place, value in enumerate(values)])

    return read


def an_object(make: Callable[..., Any], may_lack: Collection[str] = (), **readers: Reader) -> Reader:
    """Reader of an object, whatever unknown keys it has; or, as serde reads it too, of an array of all its fields."""

    def read(value: object) -> Any:
        if isinstance(value, list) and len(value) == len(readers):
            value = tuple(zip(readers, value, strict=True))
        if not isinstance(value, tuple):
            raise MalformedJson("is not an object")
        fields: dict[str, Any] = {}
        for key, content in value:
            if key in fields:
                raise MalformedJson("stands there twice", key)
            if reader := readers.get(key):
                fields[key] = _read(reader, content, key)
            elif not _is_unicode(key):
                raise MalformedJson("has a key that holds invalid UTF-8 or a lone surrogate")
        for key in readers:
            if key not in fields:
                if key not in may_lack:
                    raise MalformedJson("is missing", key)
                fields[key] = None
        return make(**fields)

    return read


def _read(reader: Reader, value: object, where: str) -> Any:
    try:
        return reader(value)
    except MalformedJson as error:
        raise error.within(where) from None
