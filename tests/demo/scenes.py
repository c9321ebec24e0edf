"""The four failures: what breaks, the command that finds out, and what must come of it."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A commit that somebody pushes: one text of one file replaced by another."""

    file: str
    old: str
    new: str
    subject: str


class Scene(NamedTuple):
    """One failing CI run.

    Attributes:
        run: its run id.
        title: what it is about, for the reader.
        branch: where CI runs; a `change` is pushed there first.
        flags: more flags for `heald run`.
        command: what CI runs, and `exit_code` what it must exit with.
        action: what heald must decide, and `ending` how the run must end.
        repaired: the subjects of the commits that the repair must push.
    """

    run: str
    title: str
    branch: str
    change: Change | None
    stage: str
    flags: tuple[str, ...]
    command: tuple[str, ...]
    exit_code: int
    action: str
    ending: str
    repaired: tuple[str, ...] = ()


SCENES = (
    Scene(
        run="ci-1-build",
        title="a change does not compile; a prepared patch mends it",
        branch="sum-basket",
        change=Change(
            file="shop/basket.py",
            old="    return sum(PRICES[name] * count for name, count in basket.items())\n",
            new="    return sum(PRICES[name] * count for name, count in sorted(basket.items())\n",
            subject="Sum baskets in a fixed order",
        ),
        stage="build",
        flags=(),
        command=("python3", "-m", "compileall", "-q", "shop"),
        exit_code=1,
        action="patch_forward",
        ending="recovered",
        repaired=("Apply close-the-bracket.patch",),
    ),
    Scene(
        run="ci-2-test",
        title="a test fails once, as a service was slow; the same command passes when repeated",
        branch="main",
        change=None,
        stage="test",
        flags=("--flaky",),
        command=("python3", "-m", "pytest", "-q", "--tb=short"),
        exit_code=1,
        action="retry",
        ending="recovered",
    ),
    Scene(
        run="ci-3-runtime",
        title="a commit breaks the running program; it is reverted",
        branch="bulk-discount",
        change=Change(
            file="shop/basket.py",
            old="    return sum(PRICES[name] * count for name, count in basket.items())\n",
            new=(
                "    full = sum(PRICES[name] * count for name, count in basket.items())\n"
                "    return full - full // (10 * (sum(basket.values()) // 10))\n"
            ),
            subject="Give a discount on large baskets",
        ),
        stage="runtime",
        flags=(),
        command=("python3", "-m", "shop", "apple=3", "milk=1"),
        exit_code=1,
        action="rollback",
        ending="recovered",
        repaired=('Revert "Give a discount on large baskets"',),
    ),
    Scene(
        run="ci-4-deploy",
        title="a deployment is refused, and the server's rules let nothing touch it; a person is paged",
        branch="main",
        change=None,
        stage="deploy",
        flags=(),
        command=("python3", "deploy.py"),
        exit_code=3,
        action="escalate",
        ending="escalated",
    ),
)
