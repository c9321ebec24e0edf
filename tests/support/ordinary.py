"""Ordinary lines of build logs, made up: full of hashes, identifiers and words that secrets also use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

HEX, WORD = "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ("parser", "checkout", "billing", "session", "token", "cache", "render", "widget", "auth", "secret", "store", "index", "user",
         "worker", "queue", "password", "keyring", "cookie", "bearer", "basic", "credentials", "login", "access", "private")  # fmt: skip

TEMPLATES = (
    "commit {hex40}", "HEAD is now at {hex7} Fix {word} of {word}", "{hex40}\trefs/heads/{word}-{n}", "Merge {hex40} into {hex40}",
    "Digest: sha256:{hex64}", "Status: Downloaded newer image for acme/{word}@sha256:{hex64}", "#{n} [{n}/9] RUN pip install {word}",
    "{hex12}: Pull complete", " ---> {hex12}", "Successfully built {hex12}", "writing image sha256:{hex64} done", "#{n} CACHED",
    "Request ID: {uuid}", "run {uuid} failed after {n}s", "trace_id={hex32} span_id={hex16}", "correlation-id: {uuid}", '"id": "{uuid}",',
    "etag: \"{hex32}\"", "md5: {hex32}", "crc32 {hex8} ok", "sha1: {hex40}", "checksum = \"{hex64}\"", "--hash=sha256:{hex64} \\",
    'integrity="sha512-{b64_86}=="', "golang.org/x/{word} v0.{n}.0 h1:{b64_43}=", "integrity sha512-{b64_86}==",
    "background: url(data:image/png;base64,{b64_200}=)", "![badge](data:image/svg+xml;base64,{b64_200})",
    "Downloading {word}-{n}.{n}.0-py3-none-any.whl (1.{n} MB)", "Collecting {word}=={n}.{n}.{n}", "  + {word} {n}.{n}.{n} -> {n}.{n}.{n}",
    "added {n} packages, and audited {n} packages in {n}s", "npm warn deprecated {word}@{n}.0.{n}: use {word} instead", "yarn install v1.22.{n}",
    "   Compiling {word}-{word} v0.{n}.{n} (/home/runner/work/{word}/{word})", "    Finished `dev` profile in {n}.{n}s", "go: downloading github.com/acme/{word} v1.{n}.0",
    "[INFO] Downloaded from central: com/acme/{word}/{n}.{n}/{word}-{n}.{n}.jar (14 kB at 1.2 MB/s)", "> Task :{word}:compileJava FROM-CACHE",
    "{word}/{word}.py      {n}     {n}    {n}%   {n}-{n}, {n}", "TOTAL                 {n}   {n}    {n}%", "{word}.ts | {n} | {n} | {n} | {n} | {n}-{n}",
    "  File \"/usr/lib/python3.11/site-packages/{word}/{word}.py\", line {n}, in {word}", "    at com.acme.{word}.KeyStoreTest.opens(KeyStoreTest.java:{n})",
    "    at Object.<anonymous> (/app/node_modules/{word}/lib/{word}.js:{n}:{n})", "#{n} 0x{hex16} in {word}_main () at {word}.c:{n}",
    "goroutine {n} [running]:\n\t/go/src/{word}/{word}.go:{n} +0x{hex8}", "thread 'main' panicked at src/{word}.rs:{n}:{n}:",
    "FAILED tests/test_{word}.py::test_{word}_{word} - AssertionError: assert {n} == {n}", "PASS src/{word}/{word}.test.ts ({n}.{n} s)", "ok {n} - {word} {word}",
    "--- FAIL: Test{Word}{Word} (0.{n}s)", "{word}_test.go:{n}: expected {n}, got {n}", "E   assert '{word}' == '{Word}'", "  ✓ {word} the {word} ({n} ms)",
    "E   KeyError: '{word}_token'", "TypeError: login() missing 1 required positional argument: 'password'", "ValueError: invalid literal for int() with base 10: '{word}'",
    "secret_key = os.environ['SECRET_KEY']", "password=settings.DB_PASSWORD", "token = get_token(user_id={n})", "api_key: str = Field(..., min_length={n})",
    "export TOKEN=$CI_JOB_TOKEN", "password: ${{ secrets.DB_PASSWORD }}", "token: ***", "password=****** user={word}", "Password: ", "Enter passphrase for key '/root/.ssh/id_{word}': ",
    "--password-stdin is recommended", "docker login --username ci --password-stdin registry.example", "WARNING! Your password will be stored unencrypted in /root/.docker/config.json.",
    "password must be at least {n} characters", "the {word} of {word} is not allowed to {word}", "unexpected token '}}' at line {n}", "SyntaxError: Unexpected token u in JSON at position {n}",
    "max_tokens={n} n_tokens: {n}", "prompt_tokens: {n}, completion_tokens: {n}", "tokenizer={word}-base-{n}", "cache key: linux-{word}-{hex64}", "Cache restored from key: {word}-{hex40}",
    "restore-keys: {word}-", "primary_key={n}", "foreign key constraint fails (`app`.`{word}`, CONSTRAINT `fk_{word}_{n}`)", "sort key: {word}_{n}", "key={word}_{n} ttl={n}",
    "see https://github.example/acme/{word}/actions/runs/{n}{n}{n}/job/{n}{n}", "GET https://api.example/v1/{word}?page={n}&per_page=100 200", "POST /v1/{word}/{uuid} 201 {n}ms",
    "remote: Resolving deltas: 100% ({n}/{n}), done.", "From git.example:acme/{word}", "git@git.example:acme/{word}.git", "pip install 'git+https://git.example/acme/{word}@main'",
    "user-agent: {word}/1.{n} (+https://{word}.example)", "2026-01-31 12:{nn}:{nn},{n} INFO  [{word}] o.s.b.{Word}Application : Started in {n}.{n} s", "12:{nn}:{nn} DEBUG {word}.{word}: {word} {n}",
    "level=info ts=2026-01-31T12:{nn}:{nn}Z msg=\"{word} ready\" id={hex16}", '{"level":"info","msg":"{word}","request_id":"{uuid}","n":{n}}', "connected to redis://cache:6379/0", "postgres://localhost:5432/{word}_test",
    "dial tcp 10.0.{n}.{n}:5432: connect: connection refused", "listening on http://127.0.0.1:{n}{n}", "amqp://rabbit:5672/%2F is not reachable", "cookie consent banner rendered {n} times",
    "Authorization failed for user {word}", "Error: authorization required for {word}", "bearer authentication is enabled for {word}", "basic auth: disabled", "WWW-Authenticate: Basic realm=\"{word}\"",
    "Set-Cookie header was not sent", "node_modules/.pnpm/{word}@{n}.{n}.{n}_{hex32}/node_modules/{word}", "/nix/store/{b32}-{word}-{n}.{n}.drv", "chunk-{hex8}.js  {n}.{n} kB │ gzip: {n}.{n} kB",
    "dist/assets/index-{b64_8}.js", "style.{hex20}.css", "module.exports = {word}{n}", "Generated snapshot {hex40}.snap", "sk-{word}-{word}-{n}", "key-{word}-{n}", "task-{n}{n}-{word}", "pk_{word}_{n}", "sl.{word}.{word}",
    "arn:aws:iam::{n}{n}{n}{n}:role/{word}", "projects/acme-{word}/serviceAccounts/{word}@acme.iam.example", "ami-0{hex16}", "i-0{hex16} is running", "sg-0{hex16}", "vpc-{hex8}", "eni-0{hex16} attached",
    "AssertionError: expected {n}{n}{n}{n} to equal {n}{n}{n}{n}", "0x{hex40}", "tx 0x{hex64} mined in block {n}{n}", "+ {hex64}  {word}.tar.gz", "-{hex64}  {word}.zip", "index {hex7}..{hex7} 100644",
    "diff --git a/{word}/{word}.py b/{word}/{word}.py", "@@ -{n},{n} +{n},{n} @@ def {word}():", "\x1b[32m✓\x1b[0m {word} \x1b[2m({n}ms)\x1b[22m", "##[group]Run {word}/{word}@v{n}", "##[endgroup]", "::warning file={word}.py,line={n}::{word}",
    "Successfully tagged acme/{word}:{hex7}", "kubectl rollout status deploy/{word}-{hex10}-{b32_5}", "pod/{word}-{hex10}-{b32_5} created", "Secret \"{word}-tls\" created", "secret/{word}-credentials unchanged",
    "certificate serial {hex32}", "SHA256:{b64_43} ci@{word} (ED25519)", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{b64_43} ci@{word}", "-----BEGIN CERTIFICATE-----\n{b64_64}\n{b64_64}\n-----END CERTIFICATE-----", "Public key: {b64_43}=",
    "-----BEGIN PUBLIC KEY-----\n{b64_64}\n-----END PUBLIC KEY-----", "gpg: Good signature from \"{Word} <{word}@acme.example>\"", "gpg:                using RSA key {HEX40}", "Primary key fingerprint: {HEX4} {HEX4} {HEX4} {HEX4}",
    "W{n}{n} {word}.go:{n}] unable to fetch token, retrying in {n}s", "Token expired at 2026-01-31T12:{nn}:{nn}Z", "access token has {n} scopes", "Secrets: {n} used, {n} unused", "password_hash column added to users", "api_key_id={n}", "token_type: bearer",
    "AKIA is a prefix", "password=None", "token=null", "secret: false", "passwd: all authentication tokens updated successfully", "pass: {n}, fail: {n}, skip: {n}", "pwd: /home/runner/work/{word}", "--token=<redacted>", "api_key=<your key here>",
)  # fmt: skip


def ordinary_lines(count: int, seed: int) -> Iterator[str]:
    """So many made-up log lines; a few templates give two."""
    random = Random(seed)
    for _ in range(count):
        yield _filled(random.choice(TEMPLATES), random)


def _filled(template: str, random: Random) -> str:
    """The template with its `{names}` filled; other braces stay."""
    return _HOLE.sub(lambda hole: _made(hole[1], int(hole[2] or 0), random), template)


_HOLE = re.compile(r"\{(hex|HEX|b32_?|b64_|uuid|word|Word|nn?)(\d*)\}")


def _made(name: str, size: int, random: Random) -> str:
    def run(alphabet: str, length: int) -> str:
        return "".join(random.choices(alphabet, k=length))

    match name:
        case "hex":
            return run(HEX, size)
        case "HEX":
            return run(HEX.upper(), size)
        case "b64_":
            return run(WORD + "+/", size)
        case "b32" | "b32_":
            return run("bcdfghjklmnpqrstvwxz2456789", size or 32)
        case "uuid":
            return "-".join(run(HEX, length) for length in (8, 4, 4, 4, 12))
        case "word":
            return random.choice(WORDS)
        case "Word":
            return random.choice(WORDS).capitalize()
        case "nn":
            return f"{random.randrange(60):02}"
        case _:
            return str(random.randrange(1, 999))
