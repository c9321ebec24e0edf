"""Patch forward: apply the first prepared patch that fits, check, and push one commit on top."""

import os
import sys
from pathlib import Path

from checkout import checkout, tell

PATCHES = Path(__file__).parent / "patches"

with checkout() as work:
    mark = f"Repair: {os.environ['HEALD_IDEMPOTENCY_KEY']}"
    if not work.tells(mark):
        patch = next((patch for patch in sorted(PATCHES.glob("*.patch")) if work.accepts(patch)), None)
        if patch is None:
            sys.exit(f"no prepared patch fits {work.branch}")
        work.git("apply", patch)
        work.git("commit", "--quiet", "--all", "-m", f"Apply {patch.name}", "-m", mark)
    work.check()
    work.land()
    tell(f"pushed {work.git('log', '-1', '--format=%h %s')!r} to {work.branch}")
