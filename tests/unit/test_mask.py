"""Secrets go, ordinary log lines stay. Every secret here is made up, and put together so that no scanner minds."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.mask import Masker
from heald_producer.shapes import MASK
from heald_producer.signals import Context

VALUE = "h7K" + "-made/up+value=="


def nothing_exists(path: str) -> bool:
    return False


def mixed(count: int) -> str:
    """So many characters, letters and digits in turn."""
    return ("aB3dE6gH9j" * (count // 10 + 1))[:count]


def hexed(count: int) -> str:
    return ("0f1e2d3c4b" * (count // 10 + 1))[:count]


TOKENS = {
    "GitHub classic": "ghp" + "_" + mixed(36),
    "GitHub OAuth": "gho" + "_" + mixed(36),
    "GitHub Actions": "ghs" + "_" + mixed(36),
    "GitHub fine-grained": "github" + "_pat_" + mixed(22) + "_" + mixed(59),
    "GitLab": "gl" + "pat-" + mixed(20),
    "GitLab job": "gl" + "cbt-64_" + mixed(20),
    "AWS key id": "AK" + "IA" + "ABCDEFGHIJKLMNOP",
    "Google API key": "AI" + "za" + mixed(35),
    "Google OAuth": "ya" + "29." + mixed(60),
    "Slack bot": "xo" + "xb-1234567890-" + mixed(24),
    "npm": "np" + "m_" + mixed(36),
    "PyPI": "py" + "pi-AgEIcHlwaS5vcmc" + mixed(80),
    "Stripe": "sk" + "_live_" + mixed(24),
    "Stripe restricted": "rk" + "_live_" + mixed(24),
    "JWT": "ey" + "J" + mixed(20) + ".ey" + "J" + mixed(40) + "." + mixed(43),
    "Hugging Face": "h" + "f_" + mixed(34),
    "OpenAI": "sk" + "-" + mixed(48),
    "OpenAI project": "sk" + "-proj-" + mixed(40) + "-" + mixed(20),
    "Anthropic": "sk" + "-ant-api03-" + mixed(60) + "-" + mixed(20),
    "Twilio": "S" + "K" + hexed(32),
    "SendGrid": "S" + "G." + mixed(22) + "." + mixed(43),
    "Vault": "hv" + "s." + mixed(90),
    "DigitalOcean": "do" + "p_v1_" + hexed(64),
    "Telegram": "1234567890" + ":AA" + mixed(33),
    "Docker Hub": "dck" + "r_pat_" + mixed(27),
    "Azure client": mixed(2) + "x8" + "Q~" + mixed(34),
    "Databricks": "da" + "pi" + hexed(32),
    "Shopify": "shp" + "at_" + hexed(32),
    "age": "AGE-SECRET" + "-KEY-1" + "Q" * 58,
}

BEHIND = {
    "aws_secret_access_key = {}": mixed(38) + "/+",
    '"awsSecretKey": "{}"': mixed(40),
    "AccountName=x;AccountKey={};EndpointSuffix=core.windows.net": mixed(86) + "==",
    "Endpoint=sb://x/;SharedAccessKey={}": mixed(43) + "=",
    '{{"auths": {{"registry": {{"auth": "{}"}}}}}}': mixed(24),
    "//registry.npmjs.org/:_authToken={}": mixed(36),
    "Authorization: Bearer {}": mixed(20),
    "authorization: Basic {}": mixed(20),
    "< Authorization: token {}": mixed(20),
    "-H 'Authorization: {}'": mixed(20),
    '"Authorization":"Bearer {}"': mixed(20),
    "sent bearer {} to the server": mixed(30),
    "PRIVATE-TOKEN: {}": mixed(20),
    "X-Api-Key: {}": mixed(20),
    "Set-Cookie: {}": "session=" + mixed(20),
    "redis://:{}@cache:6379/0": "letmein",
    "postgres://app:{}@db/app": "p%40ss",
    "git clone https://x-access-token:{}@github.com/acme/app": mixed(20),
    "git clone https://{}@github.com/acme/app": mixed(24),
    "https://store/file?sv=1&sig={}&se=2": mixed(30) + "%3D",
    "https://maps/api?key={}": mixed(20),
    "https://hooks.slack.com/services/{}": "T000/B000/" + mixed(24),
    "DB_PASSWORD={} ./migrate": "hunter2hunter2",
    "password: '{}'": "hunter2hunter2",
    '"client_secret": "{}"': "s3cr3t-value",
    "deploy --api-key {} now": "abcdef123456",
    "deploy --token={}": "abcdef123456",
    "curl -sS -u admin:{} https://example.com": "letmein",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_well_known_token_goes(kind: str) -> None:
    token = TOKENS[kind]
    for line in (token, f"error: cannot push with {token}, denied", f'{{"t": "{token}"}}', f"T={token}\nnext"):
        masked = Masker().text(line)
        assert token not in masked
        assert token[8:] not in masked
        assert masked == line.replace(token, MASK)


@pytest.mark.parametrize("line", BEHIND)
def test_what_stands_behind_a_telling_word_goes(line: str) -> None:
    secret = BEHIND[line]
    masked = Masker().text(line.format(secret))
    assert secret not in masked
    assert MASK in masked


PEM = "\n".join(["-----BEGIN RSA PRIVATE " + "KEY-----", *[mixed(64)] * 12, "-----END RSA PRIVATE " + "KEY-----"])


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "\n#12 0.345 "),
        PEM.replace("\n", "\n2026-01-31T12:00:00Z "),
        PEM.replace(" RSA", " OPENSSH"),
        PEM.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
        json.dumps({"type": "service_account", "private_key": PEM}),
        PEM.rpartition("\n")[0],
    ],
)
def test_a_private_key_goes_with_every_line(text: str) -> None:
    masked = Masker().text(f"before\n{text}\nafter.")
    assert mixed(64) not in masked
    assert "PRIVATE KEY" not in masked
    assert masked.startswith("before\n")
    assert masked.endswith(".")


ORDINARY = [
    "commit 8f14e45fceea167a5a36dedd4bea2543d2a1c0de",
    "run 3f2504e0-4f89-11d3-9a0c-0305e82c3301 failed",
    "Digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    'integrity="sha512-q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeA=="',
    "golang.org/x/net v0.17.0 h1:pVaXccu2ozPjCXewfr1S7xza/zcXTity9cCdXQYSjIM=",
    "Downloading http://localhost:8080/simple/pkg-1.0.0-py3-none-any.whl",
    "remote: git@github.com:acme/app.git",
    "see https://github.com/acme/app/actions/runs/123456789/attempts/1",
    "pip install 'pkg @ git+https://github.com/acme/app@main'",
    "E   assert token == 'abc'",
    "SyntaxError: unexpected token: foo",
    "KeyError: 'api_key'",
    "password must be at least 8 characters",
    "TypeError: login() missing 1 required positional argument: 'password'",
    "secret_key = os.environ['SECRET_KEY']",
    "client.connect(password=settings.password)",
    "max_tokens=4096, tokenizer=bert-base-12",
    "export TOKEN=$CI_JOB_TOKEN",
    "Authorization failed for user alice",
    "the bearer of bad news wants authentication",
    "basic authentication is disabled",
    "AssertionError: expected 1234567890 got 987654321098765",
    "12:34:56.789 INFO  [main] o.s.b.Application : Started",
    "at com.acme.app.KeyStoreTest.opens(KeyStoreTest.java:123)",
    "/home/runner/work/app/app/node_modules/sk-learn/index.js:12:34",
    '<div class="sk-container-id-1 sk-text-repr-fallback">',
    "task-1234567890abcdefghij risk-assessment-of-everything",
    "docker run --user 1000:1000 -p 8080:80 alpine@sha256:" + hexed(64),
    "cache key: linux-node-18-" + hexed(40),
    "npm_config_registry=https://registry.npmjs.org/",
    "0x7ffd4c3b2a10 in __libc_start_main () from /lib/x86_64-linux-gnu/libc.so.6",
    "panicked at 'called `Option::unwrap()` on a `None` value', src/main.rs:12:34",
]


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_is_not_touched(line: str) -> None:
    environment = {"PWD": "/srv", "CI": "true", "BUILD_KEY": "12345678", "AUTH_MODE": "disabled"}
    assert Masker.of(environment, nothing_exists).text(line) == line


def forms_of(value: str) -> dict[str, str]:
    raw = value.encode()
    return {
        "plain": value,
        "url": quote(value, safe=""),
        "url, lower-case": re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
        "base64": base64.b64encode(raw).decode(),
        "base64 with newline": base64.b64encode(raw + b"\n").decode(),
        "base64 of user:value": base64.b64encode(b"admin:" + raw).decode(),
        "base64, url-safe": base64.urlsafe_b64encode(b"xy" + raw + b"!").decode(),
        "json": json.dumps(value),
    }


@pytest.mark.parametrize("name", ["API_TOKEN", "MY_SECRET", "dbPassword", "SSH_KEY", "AZURE_CREDENTIALS", "NPM_AUTH",
                                  "SENTRY_DSN", "SYSTEM_ACCESSTOKEN", "X_PASS"])  # fmt: skip
def test_a_value_under_a_secret_name_goes_in_every_form(name: str) -> None:
    masker = Masker.of({name: VALUE}, nothing_exists)
    for form, text in forms_of(VALUE).items():
        masked = masker.text(f"got {text} here")
        assert MASK in masked, form
        assert VALUE not in masked
        assert text[2:-4] not in masked, form


@given(st.binary(max_size=12), st.text(min_size=8, max_size=60), st.binary(max_size=12))
def test_base64_of_anything_around_a_secret_shows_nothing_of_its_middle(
    before: bytes, secret: str, after: bytes
) -> None:
    masker = Masker([secret])
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert encoded not in masker.text(f"'{encoded}'")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUILD_TAG", VALUE),
        ("AUTHOR_NAME", "Ada Lovelace"),
        ("GIT_AUTHOR_EMAIL", "ada@example.com"),
        ("MONKEY_NAME", "bubbles"),
        ("A_TOKEN", "short"),
        ("A_TOKEN", "true"),
        ("A_TOKEN", "Disabled"),
        ("A_TOKEN", "12345.678"),
        ("KEY_DATE", "2026-01-31"),
        ("SSH_AUTH_SOCK", "/run/user/1000/ssh"),
        ("PWD", "/home/ada/project"),
        ("CACHE_KEY", "linux-node-18"),
        ("BUILDKITE_STEP_KEY", "unit-tests"),
        ("SIGNING_KEY_FILE", "signing.pem"),
    ],
)
def test_what_is_no_secret_by_its_name_or_value_stays(name: str, value: str) -> None:
    exists = {"/run/user/1000", "/home/ada"}.__contains__
    assert Masker.of({name: value}, exists).text(f"saw {value}.") == f"saw {value}."


def test_base64_that_begins_with_a_slash_is_no_path() -> None:
    value = "/" + mixed(20) + "/" + mixed(8)
    assert Masker.of({"A_SECRET": value}, nothing_exists).text(value) == MASK


def test_a_password_within_any_url_of_the_environment_goes_wherever_it_stands() -> None:
    masker = Masker.of({"DATABASE": "postgres://app:p%40ssw0rd@db/app"}, nothing_exists)
    assert masker.text("login with p@ssw0rd or p%40ssw0rd failed") == f"login with {MASK} or {MASK} failed"


def test_the_longer_of_two_secrets_goes_first() -> None:
    masker = Masker.of({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghij"}, nothing_exists)
    assert masker.text("abcdefghij abcdef") == f"{MASK} {MASK}"


def test_a_secret_of_several_lines_goes_line_by_line() -> None:
    masker = Masker.of({"A_KEY": f"header\n{mixed(30)}\n{hexed(30)}\n"}, nothing_exists)
    assert masker.text(f"[1] {mixed(30)}\n[2] {hexed(30)}") == f"[1] {MASK}\n[2] {MASK}"


def test_a_command_loses_what_follows_its_secret_flags() -> None:
    masker = Masker.of({"TOKEN": VALUE}, nothing_exists)
    argv = ["deploy", "--password", "abc", "--api-key=x", "--name", "two words", VALUE, "-u", "me"]
    assert masker.command(argv) == f"deploy --password {MASK} --api-key={MASK} --name 'two words' '{MASK}' -u me"


def test_every_string_of_a_context_is_masked() -> None:
    fields = ("repository", "commit", "ref", "job", "url", "command", "host")
    context = Context(**dict.fromkeys(fields, f"a {VALUE} b"), parent_run="r1")
    masked = Masker([VALUE]).context(context)
    assert masked == Context(**dict.fromkeys(fields, f"a {MASK} b"), parent_run="r1")


@pytest.mark.parametrize(
    "unit",
    ["A", "eyJ", "eyJ-", "eyJaaaaaaaaa.", "://", "://a:", "-----BEGIN PRIVATE " + "KEY-----\n", "sk-", "bearer ",
     "authorization:   bearer   ", "--token", "-", "--a-", "curl -u a", "aws secret=", "?key=", "1234567890:AA",
     "password='", "cookie:", " ", "\n", "token=1aaaaaa ", "SG.", "glpat-", '"auth": "', "=\"'", "a@"],
)  # fmt: skip
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    """A quadratic pattern would take minutes for a text of this size, and the suite's time limit would end it."""
    Masker([VALUE]).text(unit * (400_000 // len(unit)))
