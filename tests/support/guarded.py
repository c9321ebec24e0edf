"""A server that was started with the accounts of `deploy/users.acl`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heald_producer.connection import connect
from support.server import Server

USERS = (Path(__file__).parents[2] / "deploy" / "users.acl").read_text("utf-8")
PASSWORDS = {"admin": "admin-pw", "producer": "producer-pw", "worker": "worker-pw"}
ADMIN = ("heald-admin", PASSWORDS["admin"])


class Guarded:
    """The server, and a client of its administrator."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = connect(self.url("admin"))

    def url(self, account: str) -> str:
        return url_of(account, self.server.port)

    def refusals(self) -> set[tuple[str, str]]:
        """Who was refused what since the log was reset."""
        rows: list[dict[str, Any]] = self.admin.acl_log()
        return {(_text(row["username"]), _text(row["object"])) for row in rows}

    def reset(self) -> None:
        """No keys, and nobody refused yet."""
        self.admin.flushall()
        self.admin.acl_log_reset()


def url_of(account: str, port: int) -> str:
    """How somebody with this account reaches the server on this port."""
    return f"redis://heald-{account}:{PASSWORDS[account]}@127.0.0.1:{port}/0"


def accounts(folder: Path) -> tuple[str, ...]:
    """Write the file of the accounts, each password hashed. Returns the options of a server that has them."""
    filled = USERS
    for account, password in PASSWORDS.items():
        filled = filled.replace(f"{account.upper()}_SHA256", hashlib.sha256(password.encode()).hexdigest())
    (folder / "users.acl").write_text(filled)
    return "--aclfile", str(folder / "users.acl")


@contextmanager
def guarded_server(kind: str, folder: Path, *options: str) -> Iterator[Guarded]:
    """Start a server of this kind with all three accounts."""
    with Server(kind, folder, *accounts(folder), *options, account=ADMIN) as own:
        guarded = Guarded(own)
        yield guarded
        guarded.admin.close()


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
