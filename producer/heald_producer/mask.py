"""Secrets go before anything leaves the runner: values of the environment that look secret, and known shapes.

A mask is best effort and errs towards masking; it leaves hashes, identifiers, paths and ordinary text alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote

import msgspec
from msgspec.structs import replace

from heald_producer.shapes import MASK, SHAPES, mask_private_keys
from heald_producer.signals import Context
from heald_producer.wrapped import mask_wrapped

MIN_SECRET_CHARS = 6
_MIN_LINE_CHARS = 16

_SECRET_NAME = re.compile(
    r"(?:^|[^A-Z0-9])(?:AUTH|AUTHORIZATION|COOKIE|CREDENTIALS?|CREDS|DSN|JWT|KEYS?|OAUTH|PASS|PASSPHRASE|PASSWORDS|PAT"
    r"|PRIVATE|PSK|PWD|SECRETS|SIGNATURE|TOKENS|WEBHOOK)(?:[^A-Z0-9]|$)"
    r"|(?:TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|ACCESSKEY|PRIVATEKEY|SECRETKEY|AUTH)(?:[^A-Z0-9]|$)"
    r"|CONNECTION_?STRING"
)
_PUBLIC_NAME = re.compile(
    r"(?:OLD)?PWD|.*(?:PUBLIC|STEP|GROUP|CACHE|REQUEST|IDEMPOTENCY)_?KEYS?|.*_KEY_?(?:FILE|PATH|NAME|TYPE)"
)
_TRIVIAL = re.compile(
    r"absent|always|changeme|default|development|disabled|enabled|example|false|localhost|masked|never|optional|password"
    r"|placeholder|private|production|public|required|secret|staging|string|testing|unknown",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9 .,:+/-]*", re.ASCII)
_MIN_SECRET_DIGITS = 12
_URL_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s@]+)@")
_SECRET_FLAG = re.compile(
    r"--?[a-z0-9-]*(?:passw(?:or)?d|passphrase|secret|token|api-?key|access-?key|private-?key|credentials?)",
    re.IGNORECASE,
)


class Masker:
    """Replaces secrets in text by `[masked]`."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_SECRET_CHARS}
        self._forms = sorted(forms, key=len, reverse=True)

    @classmethod
    def of(cls, environ: Mapping[str, str], exists: Callable[[str], bool] = os.path.exists) -> Masker:
        """A masker for the secrets of this environment; a value for which `exists` holds is a path."""
        return cls(list(secret_values(environ, exists)))

    def text(self, text: str) -> str:
        """The text without what looks secret. Takes linear time."""
        for form in self._forms:
            text = text.replace(form, MASK)
        text = mask_wrapped(mask_private_keys(text))
        lowered = text.lower()
        for shape in SHAPES:
            if any(hint in lowered for hint in shape.hints):
                text = shape.pattern.sub(shape.replacement, text)
        return text

    def command(self, argv: Sequence[str]) -> str:
        """A command as one line for reading; what follows a flag such as `--password` goes, whatever it is."""
        words, hidden = [], False
        for word in argv:
            flag, equals, _ = word.partition("=")
            is_secret = _SECRET_FLAG.fullmatch(flag) is not None
            if hidden:
                words.append(MASK)
            else:
                words.append(f"{flag}={MASK}" if is_secret and equals else shlex.quote(self.text(word)))
            hidden = not hidden and is_secret and not equals
        return self.text(" ".join(words))

    def context(self, context: Context) -> Context:
        """The context with every string masked."""
        strings = {key: text for key, text in msgspec.structs.asdict(context).items() if isinstance(text, str)}
        return replace(context, **{field: self.text(text) for field, text in strings.items()})


def secret_values(environ: Mapping[str, str], exists: Callable[[str], bool]) -> Iterator[str]:
    """The values to mask: those under secret names, and passwords within URLs under any name."""
    for name, value in environ.items():
        if _is_secret_name(name) and _is_worth_masking(value.strip(), exists):
            yield value.strip()
        for password in _URL_PASSWORD.findall(value):
            if _is_worth_masking(password, exists):
                yield password
                yield unquote(password)


def _is_secret_name(name: str) -> bool:
    upper = name.upper()
    return _SECRET_NAME.search(upper) is not None and _PUBLIC_NAME.fullmatch(upper) is None


def _is_worth_masking(value: str, exists: Callable[[str], bool]) -> bool:
    if len(value) < MIN_SECRET_CHARS or _TRIVIAL.fullmatch(value):
        return False
    if _NUMBER.fullmatch(value):
        return sum(map(str.isdigit, value)) >= _MIN_SECRET_DIGITS
    return not _is_path(value, exists)


def _is_path(value: str, exists: Callable[[str], bool]) -> bool:
    """Base64 may begin with a slash too, so a path must lead somewhere."""
    folder = value.rstrip("/").rpartition("/")[0]
    return value.startswith("~/") or (
        value.startswith(("/", "./", "../")) and (exists(value) or (folder != "" and exists(folder)))
    )


def _forms(secret: str) -> Iterator[str]:
    """How a secret may stand in a log: as it is, line by line, escaped, URL-encoded, in base64."""
    yield secret
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _MIN_LINE_CHARS)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for encoded in (
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
    ):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
    yield from _base64_forms(secret.encode("utf-8", "surrogateescape"))


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Base64 of the secret alone, and the characters it fixes where it stands within something longer."""
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(secret).decode()
        yield encode(secret + b"\n").decode()
        for offset in range(3):
            encoded = encode(b"\0" * offset + secret).decode()
            yield encoded[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
