"""Page a person: here, by writing into a folder. Writing the same page twice changes nothing."""

import json
import os
from pathlib import Path

facts = json.loads(Path(os.environ["HEALD_FACTS"]).read_text("utf-8"))
log = facts["log"]
page = Path(os.environ["SHOP_PAGER"]) / f"{facts['run_id']}.txt"
page.parent.mkdir(exist_ok=True)
page.write_text(
    f"To whoever is on call: run {facts['run_id']} needs a person ({facts['ending']}, policy {facts['policy']}).\n"
    f"Stage {log['initial_failure']['stage']}, exit code {log['initial_failure']['exit_code']}:\n"
    f"{log['initial_failure']['message'].strip()}\n"
    f"Why heald did not touch it: {log['decisions'][-1]['rationale']}.\n",
    "utf-8",
)
