"""Roll back: revert the commit that failed, check, and push the revert."""

from checkout import checkout, tell

with checkout() as work:
    if not work.tells(f"This reverts commit {work.commit}"):
        work.git("revert", "--no-edit", work.commit)
    work.check()
    work.land()
    tell(f"pushed {work.git('log', '-1', '--format=%h %s')!r} to {work.branch}")
