"""What a report says is handed to repairs and notices as data; nothing of it becomes a command, flag or variable."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from heald_worker import keys
from support.service import report
from support.workplace import Workplace

ROOT = Path(__file__).parents[2]
WEAPONS = [
    "$(touch canary)", "`touch canary`", "; touch canary", "| touch canary", "&& touch canary", "-c 'touch canary'",
    "' ; touch canary ; '", '" ; touch canary ; "', "() { :; }; touch canary", "> canary", "!canary", "@canary", "*",
    "-rf", "--help", "--config=/tmp/evil", "~/canary", "x\nHEALD_RESULT=/tmp/evil", "x\nLD_PRELOAD=/tmp/evil.so",
    "x\r\nPATH=/tmp", "x\0HEALD_ACTION=rollback", "HEALD_ATTEMPT=99", "%s%s%n%x", "%(stage)s", "{}", "{0}",
    "{stage.__class__}", "{order.__init__.__globals__}", "${HEALD_IDEMPOTENCY_KEY}", "$HOME", "\\x41\\n",
    "\u202e\x1b]0;x\x07", "\U0001f600",
]  # fmt: skip
DUMP = """
import json, os, sys
facts = json.load(open(os.environ["HEALD_FACTS"]))
wanted = ("LD_PRELOAD", "PATH")
kept = {name: value for name, value in os.environ.items() if name.startswith("HEALD_") or name in wanted}
with open(sys.argv[-1], "a") as out:
    out.write(json.dumps({"argv": sys.argv[1:], "env": kept, "facts": facts}) + "\\n")
os.system('echo "$HEALD_STAGE" "$HEALD_JOB" > /dev/null')  # as a careful script of a user would
"""


def test_what_is_configured_is_started_and_nothing_else(workplace: Workplace) -> None:
    """A repair and a notice write down what they were started with, for reports full of weapons."""
    script, dump = workplace.folder / "dump.py", workplace.folder / "dump"
    script.write_text(DUMP)
    command = [sys.executable, str(script), "{stage}", "%s", "$HEALD_STAGE", str(dump)]
    table = f"kind = 'command'\ncommand = {json.dumps(command)}\n"
    (workplace.folder / "heald.toml").write_text(
        f"[repairs.patch_forward]\n{table}[notices.on_escalated]\n{table}[policies.default]\nmax_attempts = 1\n"
    )
    for number, weapon in enumerate(WEAPONS):
        name = weapon.replace("\0", "")
        context = dict.fromkeys(("repository", "commit", "ref", "job", "url", "command", "host"), name)
        stage, kind = (f"test {name}", "fixed") if number % 2 else (name, "told")
        message = f"{weapon} nothing fits"
        workplace.push(report(f"{kind}-{number}", stage, message, context=context, policy=name, exit_code=2))
    workplace.burst()
    assert len(workplace.ended()) == len(WEAPONS)
    assert not list(workplace.folder.glob("canary*"))
    told = [json.loads(line) for line in dump.read_text().splitlines()]
    assert len(told) == len(WEAPONS)
    names = {frozenset(each["env"]) for each in told if "attempt" in each["facts"]}
    assert len(names) == 1, "a report added or removed a variable"
    for each in told:
        check(each, command[2:], workplace.folder)


def check(each: Any, argv: list[str], folder: Path) -> None:
    """One start: its arguments are the configured ones, its variables one line each, its facts the report's words."""
    env, facts = each["env"], each["facts"]
    assert each["argv"] == argv
    weapon = WEAPONS[int(facts["run_id"].partition("-")[2])]
    assert facts["context"]["job"] == weapon.replace("\0", "")
    assert "LD_PRELOAD" not in env
    assert "/tmp/evil" not in (env["PATH"], env.get("HEALD_RESULT"), env["HEALD_FACTS"])
    assert env["HEALD_RUN_ID"] == facts["run_id"]
    assert env["HEALD_ATTEMPT"] == "1"
    assert env["HEALD_ACTION"] in ("patch_forward", "escalate")
    if "HEALD_RESULT" in env:
        assert Path(env["HEALD_RESULT"]).name == "result.json"
    assert all(value.isprintable() or "\u202e" in value for value in env.values())
    assert not any(control in "".join(env.values()) for control in "\0\n\r\x1b\x07")


def test_the_words_of_a_report_choose_no_repair_and_no_policy(workplace: Workplace) -> None:
    """A policy or an action that a report names is a wish; rules and playbook decide."""
    rules = "[policies.open]\nmax_attempts = 9\n[[rules]]\nstage = '*'\npolicy = 'default'\n"
    workplace.configure("open('marks', 'a').write('x\\n')", more=rules)
    body = json.loads(report("run-1", "deploy", "nothing fits", policy="open"))
    body |= {
        "repairs": {"escalate": {"kind": "command", "command": ["touch", "canary"]}},
        "action": "rollback",
        "command": ["touch", "canary"],
    }
    workplace.push(json.dumps(body).encode())
    workplace.burst()
    assert (workplace.ended(), workplace.marks()) == (["run-1"], [])
    [(_, entry)] = workplace.conn.xrange(keys.RECOVERIES)
    assert json.loads(entry[b"facts"])["policy_name"] == "default"
    assert not (workplace.folder / "canary").exists()


FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "__import__",
}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "xmlrpc", "telnetlib", "code", "pty"}
SOURCES = sorted(path for base in ("producer", "worker") for path in (ROOT / base).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_source_of_heald_knows_a_shell_an_evaluator_or_pickle(path: Path) -> None:
    assert complaints(ast.parse(path.read_text("utf-8"))) == []


def test_such_a_source_is_found() -> None:
    for bad in (
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "os.system('x')",
        "run('x', shell=True)",
        "import os.path, yaml",
    ):
        assert complaints(ast.parse(bad)), bad


def complaints(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").partition(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
            found += [name] if name in FORBIDDEN_CALLS or shell else []
    return found
