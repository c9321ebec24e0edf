"""The house's floors: which module may import which. Imports go down or stay on their floor, never up.

Works on the syntax tree, so imports inside functions and behind `TYPE_CHECKING` count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

ROOTS = ("producer", "worker")
"""Source roots; a checkout of somebody else may have folders of these names, so they are never imported."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("core", "core.*", "strict_json"),
    ("globs", "records", "keys", "playbook", "policies", "rulepack", "rulebook", "taxonomies", "config", "config_*"),
    (
        *("artifacts", "artifact_*", "ledger", "corrections", "disk", "packing", "states", "thinking"),
        *("streams", "patience", "groups", "letters", "outputs", "views", "effectiveness"),
        *("remedy_tables", "sharing", "unheard"),
    ),
    ("alarm", "service", "queues", "playbooks", "repairs", "repairs.*", "notices", "webhook"),
    (
        *("jobs", "intake", "history", "flaky", "agenda", "control", "leases", "considering"),
        *("moves", "commits", "closing", "decisions", "repairing", "notifying"),
    ),
    ("bell", "workers", "repair_worker", "supervisor", "upkeep"),
    ("cli", "cli.*", "__main__"),
)
"""Modules of `heald_worker`, from the ground up. `heald_producer` may be imported from every floor but the core's."""

PURE = ("heald_worker.core", "heald_worker.core.*", "heald_producer.signals")
"""What neither sees a clock nor touches the world: time, ids and randomness come in as arguments."""
PURE_IMPORTS = (
    *("__future__", "collections.abc", "datetime", "enum", "functools", "hashlib", "itertools", "re", "re2", "typing"),
    *("msgspec", "msgspec.*", "heald_worker.core.*", "heald_producer.signals"),
)
IMPURE_NAMES = {"open", "print", "input", "exec", "eval", "__import__"}
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "fromtimestamp"}


def sources(root: Path) -> dict[str, str]:
    """Every module under the source roots, by dotted name."""
    found = {}
    for base in ROOTS:
        for path in (root / base).rglob("*.py"):
            parts = path.relative_to(root / base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def complaints(module: str, source: str, known: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of one module, one sentence each."""
    tree = ast.parse(source)
    found = [f"{module}:{line}: {problem}" for line, problem in _imports_that_go_wrong(module, tree, known)]
    if _matches(module, PURE):
        found += [f"{module}:{line}: {problem}" for line, problem in _impurities(tree)]
    return found


def cycles(known: Mapping[str, str]) -> list[list[str]]:
    """Modules that import each other while they are being loaded."""
    graph = {module: set(_loaded_with(source, known)) & set(known) for module, source in known.items()}
    found: list[list[str]] = []
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in finished:
            for target in sorted(graph[module] - {module}):
                visit(target, [*path, module])
            finished.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def floor(module: str) -> int | None:
    """The floor of a module of `heald_worker`, from 0; None when it has none yet."""
    name = module.removeprefix("heald_worker.")
    return next((number for number, patterns in enumerate(FLOORS) if _matches(name, patterns)), None)


def _imports_that_go_wrong(module: str, tree: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    package = module.split(".")[0]
    own_floor = floor(module) if module != package else len(FLOORS)  # a package only hands names on
    if package == "heald_worker" and own_floor is None:
        yield 1, "has no floor yet: give it one in tests/support/floors.py"
        return
    for line, target in _imports(tree, known):
        root = target.split(".")[0]
        if root in ("", *ROOTS):
            yield line, f"imports {target or 'relatively'}; name the package"
        elif root == "heald_worker" and package == "heald_producer":
            yield line, f"imports {target}; the producer knows nothing of the worker"
        elif _matches(module, PURE) and not _matches(target, PURE_IMPORTS):
            yield line, f"imports {target}, which is not pure"
        elif target == "heald_worker" and module != "heald_worker":
            yield line, "imports from heald_worker itself; name the module"
        elif root == "heald_worker" and target != root and (floor(target) or 0) > (own_floor or 0):
            yield line, f"imports {target} from a higher floor"


def _imports(tree: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, ""
                continue
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                yield node.lineno, dotted if dotted in known else node.module or ""


def _loaded_with(source: str, known: Mapping[str, str]) -> Iterator[str]:
    """What a module imports when it is loaded: not what stands in functions or behind `TYPE_CHECKING`."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            yield node
            for part in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, part, []))

    for node in statements(ast.parse(source).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (target for _, target in _imports(node, known))


def _impurities(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_NAMES:
            yield node.lineno, f"uses {node.id}, which is not pure"
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES:
            yield node.lineno, f"uses .{node.attr}, which asks a clock"


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
