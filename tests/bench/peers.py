"""The four-job flow on other queues, timed in the same rounds by a folder that knows how to run them.

The folder holds `run.py -n RUNS PEER`, which works that many runs off with one worker process on the server at
PEER_REDIS_PORT and prints `recoveries N/s`; beside it, or elsewhere, stands a virtual environment for each.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from lab import PATIENCE, Lab

ENVIRONMENTS = {"bullmq": "huey", "huey": "huey"}
"""The fastest of them, and whose interpreter starts each: BullMQ runs on Node.js."""


class Peers(NamedTuple):
    """Where `run.py` stands, and where the environments do."""

    folder: Path
    environments: Path

    def rate(self, lab: Lab, name: str, runs: int) -> float:
        """Recoveries per second of one peer.

        Raises:
            RuntimeError: it did not finish.
        """
        lab.fresh()
        python = self.environments / ENVIRONMENTS[name] / "bin" / "python"
        places = {"PEER_REDIS_PORT": str(lab.server.port), "BULLMQ_DIR": str(self.environments / "bullmq")}
        argv = [str(python), "run.py", "-n", str(runs), "--timeout", str(PATIENCE), name]
        done = subprocess.run(
            argv, cwd=self.folder, env=os.environ | places, capture_output=True, text=True, check=False
        )
        found = re.search(rf"done {runs}/{runs} .* recoveries +([0-9.]+)/s", done.stdout)
        if not found:
            raise RuntimeError(f"{name} did not work {runs} runs off; it said:\n{(done.stdout + done.stderr)[-2000:]}")
        return float(found[1])
