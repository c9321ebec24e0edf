"""What the demo claims, checked: nothing is taken from what was printed for people."""

from __future__ import annotations

import json
from collections.abc import Callable

from house import House
from scenes import SCENES, Scene
from shop import Shop

from heald_worker import RecoveryLog, read_recovery_artifact
from heald_worker.artifacts import ArtifactError


class Claims:
    """Claims made so far, and those that turned out not to be true."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self.made = 0
        self.broken: list[str] = []

    def equal(self, claim: str, found: object, claimed: object) -> None:
        """Claim that something is so."""
        self.made += 1
        if found == claimed:
            self._say(f"  ok  {claim}: {_words(claimed)}", "green")
            return
        self.broken.append(f"{claim}: claimed {_words(claimed)!r}, found {_words(found)!r}")
        self._say(f"  NO  {self.broken[-1]}", "bold red")


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def check_all(claims: Claims, house: House, shop: Shop) -> None:
    """Everything about the logs, the repository and the pager."""
    artifacts = house.folder / "artifacts"
    claims.equal(
        "there is one artifact for each run, and no other",
        sorted(path.name for path in artifacts.iterdir() if not path.name.startswith(".")),
        [scene.run for scene in SCENES],
    )
    for scene in SCENES:
        try:
            _check_log(claims, scene, read_recovery_artifact(artifacts, scene.run))
        except ArtifactError as trouble:
            claims.equal(f"the log of {scene.run} is", str(trouble), "readable")
        shown = house.must("heald", "show", scene.run, "--json").splitlines()
        claims.equal(f"{scene.run} ended", json.loads(shown[-1])["ending"], scene.ending)
    for branch, scene in {scene.branch: scene for scene in SCENES}.items():
        _check_branch(claims, branch, scene, shop)
    claims.equal("the reverted branch holds what main holds", shop.tree("bulk-discount"), shop.tree("main"))
    shop.pull("sum-basket")
    bill = house.run("bill", "python3", "-m", "shop", "apple=3", "milk=1", cwd=shop.clone, show=False)
    claims.equal("the patched program runs", bill.output.strip(), "to pay: 2.10 EUR")
    pages = sorted(path.stem for path in (house.folder / "pager").glob("*"))
    claims.equal("a person was paged for", pages, [scene.run for scene in SCENES if scene.ending == "escalated"])
    letters = house.run("dead", "heald", "dead", "list", "--json", show=False)
    claims.equal("dead letters", letters.output.splitlines(), [])


def _check_log(claims: Claims, scene: Scene, log: RecoveryLog) -> None:
    decisions = [f"attempt {each.attempt}: {each.action}" for each in log.decisions]
    claims.equal(f"{scene.run} took", decisions, [f"attempt 1: {scene.action}"])
    outcome = "recovered" if scene.ending == "recovered" else "failed"
    claims.equal(f"{scene.run} has the outcome", str(log.outcome), outcome)
    claims.equal(f"{scene.run} reported exit code", log.initial_failure.exit_code, scene.exit_code)


def _check_branch(claims: Claims, branch: str, scene: Scene, shop: Shop) -> None:
    pushed = ["The shop", *([scene.change.subject] if scene.change else []), *scene.repaired]
    claims.equal(f"commits on {branch}", shop.subjects(branch), pushed)
