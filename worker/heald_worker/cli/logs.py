"""`--log FILE`: the lines of a log that tell why it failed, read once, in bounded memory."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from heald_producer.extract import Excerpt, Extractor
from heald_producer.mask import Masker
from heald_worker.cli.common import Problem, clean
from heald_worker.cli.progress import Advance, progress

_PIECE = 1024 * 1024
_PATIENCE = 128 * 1024 * 1024
"""Bytes that are read in about a second; a longer log gets a progress bar."""
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh")
_TEXT_CONTROLS = b"\0\t\n\r\b\f\x1b\x07"
_MOST_CONTROLS = 0.1


def read_log(source: str, masker: Masker) -> Excerpt:
    """What the log in a file, or on standard input with `-`, says about its failure; secrets are masked.

    Raises:
        OSError: the file cannot be read.
        Problem: there is nothing in it that could be a log.
    """
    if source != "-":
        with Path(source).open("rb") as file:
            return _read(file, clean(source), masker)
    if sys.stdin.isatty():
        raise Problem("standard input is a terminal", "pipe a log into it, or name a file with --log FILE", 2)
    return _read(sys.stdin.buffer, "standard input", masker)


def _read(file: BinaryIO, name: str, masker: Masker) -> Excerpt:
    extractor, total = Extractor(masker.text), 0
    with _bar(file) as advance:
        while data := file.read(_PIECE):
            if not total:
                _check(data, name)
            extractor.feed(data)
            total += len(data)
            advance((total >> 20) - (total - len(data) >> 20))
    excerpt = extractor.finish()
    if not excerpt.text:
        raise Problem(f"{name} is empty" if not total else f"{name} holds no text", "give the log of what failed")
    return excerpt


def _bar(file: BinaryIO) -> AbstractContextManager[Advance]:
    """Progress in MiB, of what will take a while or may."""
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        return progress("reading MiB", lambda: None)
    if about.st_size > _PATIENCE:
        return progress("reading MiB", lambda: about.st_size >> 20)
    return nullcontext(lambda done: None)


def _check(data: bytes, name: str) -> None:
    """Refuse what is no text before any of it is quoted."""
    if data.startswith(_PACKED):
        raise Problem(f"{name} is packed", "unpack it first, for example: zcat FILE | heald explain --log -")
    controls = len(data) - len(data.translate(None, bytes(set(range(32)) - set(_TEXT_CONTROLS))))
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff") and controls > _MOST_CONTROLS * len(data):
        raise Problem(f"{name} is no text", "give a log as the tools wrote it")
