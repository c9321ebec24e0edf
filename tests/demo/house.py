"""The demo's house: a folder, an environment of its own, and processes that are all gone when it closes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from rich.console import Console

BIN = Path(sys.executable).parent
STOP_SECONDS = 60.0
"""A worker that is told to stop first finishes the repair in hand."""
STEP_SECONDS = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):
    """The demo cannot go on: what went wrong."""


class Ran(NamedTuple):
    """A command that has ended, and all that it printed."""

    code: int
    output: str


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP as KeyboardInterrupt, but never between a process's start and its being known."""

    def __init__(self) -> None:
        self._held = self._pending = False
        for signum in SIGNALS:
            signal.signal(signum, self._arrive)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What arrives meanwhile is raised at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pending:
                raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let nothing disturb the cleaning up."""
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    def _arrive(self, signum: int, frame: FrameType | None) -> None:
        self._pending = True
        if not self._held:
            raise KeyboardInterrupt


class House:
    """Where the demo happens."""

    def __init__(self, folder: Path, console: Console, interrupts: Interrupts) -> None:
        self.folder, self.console, self._interrupts = folder, console, interrupts
        self.environ = _environment(folder)
        self.home = folder / "home"
        for made in (self.home, folder / "tmp"):
            made.mkdir()
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def say(self, text: str = "", style: str | None = None) -> None:
        """A line for the reader."""
        self.console.print(text, style=style)

    def run(self, tag: str, *argv: str | Path, cwd: Path | None = None, show: bool = True) -> Ran:
        """Run a command to its end; with `show`, it and its output appear behind `tag`."""
        if show:
            self.say(f"{tag:>8} $ {_typed(argv)}", "bold")
        process = self._popen(tag, argv, cwd, subprocess.PIPE)
        limit = threading.Timer(STEP_SECONDS, _kill, [process])
        limit.start()
        try:
            output = "".join(self._shown(tag, process.stdout, show))
            return Ran(process.wait(), output)
        finally:
            limit.cancel()
            self.stop(tag)

    def must(self, *argv: str | Path, cwd: Path | None = None) -> str:
        """Run a command of the scenery quietly; it has to succeed. Returns what it printed."""
        code, output = self.run(Path(argv[0]).name, *argv, cwd=cwd, show=False)
        if code:
            raise DemoFailed(f"{' '.join(map(str, argv))} ended with {code}:\n{output}")
        return output.strip()

    def lines(self, tag: str, seconds: float, *argv: str | Path) -> Iterator[str]:
        """What a command prints, line by line; it is ended when nobody wants more, or after so many seconds."""
        process = self._popen(tag, argv, None, subprocess.PIPE)
        limit = threading.Timer(seconds, _kill, [process])
        limit.start()
        try:
            yield from self._shown(tag, process.stdout, False)
        finally:
            limit.cancel()
            self.stop(tag)

    def start(self, tag: str, *argv: str | Path, cwd: Path | None = None, kept: bool = False) -> None:
        """Start a process that runs until it is stopped; its output is shown behind `tag`, or `kept` in `tag.log`."""
        self.say(f"{tag:>8} $ {_typed(argv)} &", "bold")
        if kept:
            with self.log(tag).open("w") as log:
                self._popen(tag, argv, cwd, log)
            return
        process = self._popen(tag, argv, cwd, subprocess.PIPE)
        reader = threading.Thread(target=lambda: list(self._shown(tag, process.stdout, True)))
        reader.start()
        self._readers.append(reader)

    def log(self, tag: str) -> Path:
        """Where a started process's output is kept."""
        return self.folder / f"{tag}.log"

    def alive(self, tag: str) -> bool:
        """Whether a started process is running."""
        return self._running[tag].poll() is None

    def stop(self, tag: str) -> int:
        """End a process that this house has started, by SIGTERM. Returns its exit code."""
        process = self._running[tag]
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise DemoFailed(f"{tag} (process {process.pid}) did not end by itself and was killed") from None
        finally:
            if process.returncode is not None:
                del self._running[tag]

    def close(self) -> None:
        """End whatever still runs, the latest first."""
        for tag in reversed(list(self._running)):
            try:
                self.stop(tag)
            except DemoFailed as trouble:
                self.say(str(trouble), "red")
        for reader in self._readers:
            reader.join(5)

    def _popen(
        self, tag: str, argv: Sequence[str | Path], cwd: Path | None, stdout: IO[str] | int
    ) -> subprocess.Popen[str]:
        # A process group of its own: Ctrl-C reaches only the demo, which then ends everything in its order.
        with self._interrupts.held():
            process = self._running[tag] = subprocess.Popen(
                list(map(str, argv)),
                cwd=cwd or self.home,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                process_group=0,
            )
        return process

    def _shown(self, tag: str, lines: IO[str] | None, show: bool) -> Iterator[str]:
        assert lines is not None
        for line in lines:
            if show:
                self.say(f"{tag:>8} | {line.rstrip()}")
            yield line


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process of this house with all that it keeps in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _typed(argv: Sequence[str | Path]) -> str:
    """A command as somebody would type it."""
    return shlex.join([Path(argv[0]).name, *map(str, argv[1:])])


def _environment(folder: Path) -> dict[str, str]:
    """An environment from nothing: no CI, no git configuration, no heald settings of whoever runs the demo."""
    kept = {name: os.environ[name] for name in ("NO_COLOR", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HEALD_ARTIFACTS": str(folder / "artifacts"),
        "HEALD_SPOOL": str(folder / "spool"),
        "SHOP_ORIGIN": str(folder / "shop.git"),
        "SHOP_RATES": str(folder / "rates.json"),
        "SHOP_PAGER": str(folder / "pager"),
    }


@contextmanager
def open_house(console: Console, keep: bool) -> Iterator[House]:
    """A house in a temporary folder. Afterwards its processes are ended and, unless `keep`, the folder is gone."""
    interrupts = Interrupts()
    folder = Path(tempfile.mkdtemp(prefix="heald-demo-")).resolve()
    house = House(folder, console, interrupts)
    try:
        yield house
    finally:
        interrupts.ignore()
        house.close()
        if keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
