"""`make demo`: four real commands fail, heald deals with them, and every claim about it is checked.

An embedded Valkey, a git repository, workers and the commands are real processes in a temporary folder. Exit code 0
means that everything that the demo claims was found to be so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `support`, which the test suite uses too

import redis
from claims import Claims, check_all
from house import BIN, DemoFailed, House, open_house
from rich.console import Console
from scenes import SCENES, Scene
from shop import Shop

from support.server import binary, free_port
from support.wait import until

PLAYBOOK = Path(__file__).parent / "playbook"
PATIENCE = 60.0
"""Seconds that all recoveries together may take."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(description="Four real commands fail; heald mends what it may.")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder, to look around in it")
    options = parser.parse_args(argv)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    started = time.monotonic()
    try:
        _check_tools()
        with open_house(console, options.keep) as house:
            claims = _play(house)
    except DemoFailed as trouble:
        console.print(f"\nthe demo failed: {trouble}", style="bold red")
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything that was started has been ended", style="yellow")
        return 130
    seconds = time.monotonic() - started
    if claims.broken:
        console.print(f"\n{len(claims.broken)} of {claims.made} claims are not true:", style="bold red")
        for broken in claims.broken:
            console.print(f"  {broken}", style="red")
        return 1
    console.print(f"\nAll {claims.made} claims hold ({seconds:.0f} s).", style="bold green")
    return 0


def _check_tools() -> None:
    if not (BIN / "heald").exists():
        raise DemoFailed(f"heald is not installed in {BIN}; `make demo` does that")
    if shutil.which("git") is None:
        raise DemoFailed("it needs git 2.30 or newer on the PATH")


def _play(house: House) -> Claims:
    """The whole demo. Returns what was claimed."""
    _title(house, "1. A server, a repository, a worker")
    shop = Shop(house)
    shop.open()
    shutil.copytree(PLAYBOOK, house.folder / "playbook", ignore=shutil.ignore_patterns("__pycache__"))
    house.say(f"  a repository in {shop.origin}, a playbook in {house.folder / 'playbook'}")
    _start_server(house)
    claims = Claims(house.say)
    house.start("worker", "heald", "worker", "--repairs", "2", cwd=house.folder / "playbook", kept=True)
    house.start("tail", "heald", "tail")

    _title(house, "2. Four commands fail")
    codes = [_fail(house, shop, scene) for scene in SCENES]

    _title(house, "3. heald recovers what it may")
    _wait_for_the_end(house)
    house.stop("tail")
    claims.equal("the worker stops with exit code", house.stop("worker"), 0)

    _title(house, "4. What happened")
    for scene in SCENES:
        house.run("show", "heald", "show", scene.run)
    house.run("log", "git", "--git-dir", shop.origin, "log", "--graph", "--all", "--format=%h %<(14)%an %s")
    for page in sorted((house.folder / "pager").glob("*")):
        house.run("pager", "cat", page)
    verified = house.run("verify", "heald", "verify", "--all", "--dir", house.folder / "artifacts")
    for artifact in sorted((house.folder / "artifacts").rglob("recovery.*")):
        house.say(f"  {artifact}")

    _title(house, "5. Claims")
    claims.equal("`heald run` passed on the commands' exit codes", codes, [scene.exit_code for scene in SCENES])
    claims.equal("`heald verify --all` found every artifact true, exit code", verified.code, 0)
    check_all(claims, house, shop)
    return claims


def _start_server(house: House) -> None:
    """Start an embedded Valkey that keeps what it acknowledged (AOF), and make it everybody's server."""
    folder = house.folder / "valkey"
    folder.mkdir()
    url = f"redis://127.0.0.1:{(port := free_port())}/0"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    house.start("server", binary("valkey"), *options, kept=True)
    client = redis.Redis.from_url(url, retry=None)
    try:
        until(lambda: _answers(client), "the embedded server answers")
    except AssertionError as trouble:
        raise DemoFailed(f"{trouble}; it said:\n{house.log('server').read_text()}") from None
    finally:
        client.close()
    house.environ["HEALD_REDIS_URL"] = url


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _fail(house: House, shop: Shop, scene: Scene) -> int:
    """Let one scene's command fail in CI's clone. Returns the exit code that CI sees."""
    house.say(f"\n  {scene.title}", "cyan")
    shop.check_out(scene.branch, scene.change)
    heald_run = ["heald", "run", "--stage", scene.stage, "--run-id", scene.run, *scene.flags, "--"]
    return house.run(scene.stage, *heald_run, *scene.command, cwd=shop.clone).code


def _wait_for_the_end(house: House) -> None:
    """Wait until every run has ended, as the stream of recoveries tells it.

    Raises:
        DemoFailed: it takes too long, or there is no worker; tells the last that it said.
    """
    open_runs = {scene.run for scene in SCENES}
    if house.alive("worker"):
        for line in house.lines("wait", PATIENCE, "heald", "tail", "--json", "--since", "0"):
            open_runs.discard(json.loads(line)["run"])
            if not open_runs:
                return
    said = house.log("worker").read_text("utf-8", "replace")[-4000:]
    raise DemoFailed(f"{', '.join(sorted(open_runs))} did not end; the worker's last words:\n{said}")


def _title(house: House, text: str) -> None:
    house.say(f"\n{text}", "bold magenta")


if __name__ == "__main__":
    sys.exit(main())
