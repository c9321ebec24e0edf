"""Shapes of real secrets with made-up values, and the surroundings that they have in logs.

No value stands here: every one is made when it is asked for, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

UPPER, LOWER, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
HEX, WORD, URL_SAFE, BASE64 = (
    "0123456789abcdef",
    UPPER + LOWER + DIGITS,
    UPPER + LOWER + DIGITS + "-_",
    UPPER + LOWER + DIGITS + "+/",
)
Make = Callable[[Random], str]


class Kind(NamedTuple):
    """One kind of secret.

    Attributes:
        make: a new value.
        places: how it stands in a log, `{}` for the value; none for a value that tells itself, which may stand anywhere.
    """

    name: str
    make: Make
    places: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A log text with one secret in it."""

    kind: str
    secret: str
    text: str

    def leaks(self, masked: str) -> bool:
        """Whether a part of the secret that would help somebody can still be read."""
        telling = 8 if len(self.secret) >= 16 else len(self.secret)
        lines = [line.strip() for line in self.secret.splitlines() if "-----" not in line]
        starts = range(4 if telling == 8 else 0, max(1, len(self.secret) - telling + 1))
        parts = lines if len(lines) > 1 else [self.secret[start : start + telling] for start in starts]
        return any(part in masked for part in parts if part)


def chars(alphabet: str, least: int, most: int = 0) -> Make:
    """So many characters, at least one of them a digit where the alphabet has any."""

    def make(random: Random) -> str:
        made = [random.choice(alphabet) for _ in range(random.randint(least, most or least))]
        if "0" in alphabet:
            made[random.randrange(1, len(made))] = random.choice(DIGITS)
        return "".join(made)

    return make


def joined(*parts: str | Make) -> Make:
    """Fixed words and made parts, one after the other."""
    return lambda random: "".join(part if isinstance(part, str) else part(random) for part in parts)


def either(*makes: Make) -> Make:
    """One of several forms."""
    return lambda random: random.choice(makes)(random)


def _json_web_token(random: Random) -> str:
    head = {"alg": random.choice(["HS256", "RS256"]), "typ": "JWT"}
    body = {"sub": str(random.randrange(10**9)), "iat": random.randrange(10**9), "name": chars(LOWER, 4, 12)(random)}
    return ".".join([_web(json.dumps(head).encode()), _web(json.dumps(body).encode()), chars(URL_SAFE, 43, 86)(random)])


def _web(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _in_base64(make: Make) -> Make:
    return lambda random: _web(make(random).encode())


def pem(label: str, lines: int = 8) -> Make:
    """A private key of several lines."""

    def make(random: Random) -> str:
        body = [chars(BASE64, 64)(random) for _ in range(random.randint(3, lines))]
        return "\n".join(
            [f"-----BEGIN {label}-----", *body, chars(BASE64, 24)(random) + "==", f"-----END {label}-----"]
        )

    return make


def _basic(random: Random) -> str:
    return base64.b64encode(f"user:{chars(WORD, 12, 20)(random)}".encode()).decode()


def _service_account_key(random: Random) -> str:
    return pem("PRIVATE KEY")(random).replace("\n", "\\n") + "\\n"


PASSWORD = chars(WORD + "!#%^_-", 8, 24)
UUID = joined(*(part for size in (8, 4, 4, 4) for part in (chars(HEX, size), "-")), chars(HEX, 12))
IN_AN_ASSIGNMENT = (
    "{name}={}", 'export {name}="{}"', "{name}: '{}'", '"{name}": "{}"', "  {name} = \"{}\"", "env: {name}='{}' ./deploy",
    "+ {name}={} ./run.sh", 'ENV {name}="{}"', '{{"env":{{"{name}":"{}"}}}}', '\\"{name}\\":\\"{}\\"', "-e {name}={} image:tag",
    "{name}: {}",
)  # fmt: skip


def assigned(*names: str) -> tuple[str, ...]:
    """Assignments of these names, in the syntaxes of shells, YAML, JSON and containers."""
    return tuple(place.replace("{name}", name) for name in names for place in IN_AN_ASSIGNMENT)


def connection(*schemes: str) -> tuple[str, ...]:
    """URLs of these schemes with a password within."""
    ends = ("db.internal:5432/app", "10.0.0.5/app?ssl=true", "cache:6379/0", "a.example,b.example/app")
    return tuple(f"{before}{scheme}://app:{{}}@{end}{after}" for scheme in schemes for before, end, after in (
        ("could not connect to ", ends[0], ""), ("DATABASE_URL=", ends[1], ""), ('url: "', ends[2], '"'), ("[error] '", ends[3], "' refused"),
    ))  # fmt: skip


TOLD_BY_ITSELF = (
    Kind("GitHub personal token", joined("gh" "p_", chars(WORD, 36))),
    Kind("GitHub OAuth token", joined("gh" "o_", chars(WORD, 36))),
    Kind("GitHub user-to-server token", joined("gh" "u_", chars(WORD, 36))),
    Kind("GitHub server-to-server token", joined("gh" "s_", chars(WORD, 36))),
    Kind("GitHub refresh token", joined("gh" "r_", chars(WORD, 76))),
    Kind("GitHub fine-grained token", joined("github" "_pat_", chars(WORD, 22), "_", chars(WORD, 59))),
    Kind("GitLab personal token", joined("gl" "pat-", chars(URL_SAFE, 20))),
    Kind("GitLab routable token", joined("gl" "pat-", chars(URL_SAFE, 27), ".01.", chars(LOWER + DIGITS, 9))),
    Kind("GitLab runner token", joined("gl" "rt-", chars(URL_SAFE, 20))),
    Kind("GitLab deploy token", joined("gl" "dt-", chars(URL_SAFE, 20))),
    Kind("GitLab trigger token", joined("gl" "ptt-", chars(HEX, 40))),
    Kind("GitLab job token", joined("gl" "cbt-", chars(DIGITS, 2), "_", chars(URL_SAFE, 20))),
    Kind("Bitbucket app password", joined("AT" "BB", chars(WORD, 32))),
    Kind("Atlassian token", joined("AT" "ATT3xFf", chars(URL_SAFE, 160, 180), "=", chars(HEX.upper(), 8))),
    Kind("AWS key id", joined("AK" "IA", chars(UPPER + "234567", 16))),
    Kind("AWS temporary key id", joined("AS" "IA", chars(UPPER + "234567", 16))),
    Kind("Google API key", joined("AI" "za", chars(URL_SAFE, 35))),
    Kind("Google access token", joined("ya" "29.", chars(URL_SAFE, 60, 180))),
    Kind("Google refresh token", joined("1/" "/0", chars(URL_SAFE, 60, 100))),
    Kind("Google client secret", joined("GO" "CSPX-", chars(URL_SAFE, 28))),
    Kind("Azure client secret", joined(chars(WORD, 3), "8Q~", chars(WORD + "_.~-", 34))),
    Kind("Azure DevOps token", joined(chars(WORD, 76), "AZ" "DO", chars(WORD, 4))),
    Kind("Slack bot token", joined("xo" "xb-", chars(DIGITS, 12), "-", chars(DIGITS, 12), "-", chars(WORD, 24))),
    Kind("Slack user token", joined("xo" "xp-", chars(DIGITS, 12), "-", chars(DIGITS, 12), "-", chars(HEX, 32))),
    Kind("Slack app token", joined("xa" "pp-1-", chars(UPPER + DIGITS, 11), "-", chars(DIGITS, 13), "-", chars(HEX, 64))),
    Kind("Discord bot token", joined(_in_base64(chars(DIGITS, 18)), ".", chars(URL_SAFE, 6), ".", chars(URL_SAFE, 38))),
    Kind("Telegram bot token", joined(chars(DIGITS[1:], 10), ":AA", chars(URL_SAFE, 33))),
    Kind("Stripe live key", joined("sk" "_live_", chars(WORD, 24, 99))),
    Kind("Stripe restricted key", joined("rk" "_live_", chars(WORD, 24, 99))),
    Kind("Stripe webhook secret", joined("wh" "sec_", chars(WORD, 32))),
    Kind("Twilio API key", joined("S" "K", chars(HEX, 32))),
    Kind("Twilio account", joined("A" "C", chars(HEX, 32))),
    Kind("SendGrid", joined("S" "G.", chars(URL_SAFE, 22), ".", chars(URL_SAFE, 43))),
    Kind("Mailgun", joined("ke" "y-", chars(HEX, 32))),
    Kind("Mailchimp", joined(chars(HEX, 32), "-u" "s", chars(DIGITS[1:], 1, 2))),
    Kind("Brevo", joined("xkey" "sib-", chars(HEX, 64), "-", chars(WORD, 16))),
    Kind("npm", joined("np" "m_", chars(WORD, 36))),
    Kind("PyPI", joined("py" "pi-AgEIcHlwaS5vcmc", chars(URL_SAFE, 130, 170))),
    Kind("RubyGems", joined("ruby" "gems_", chars(HEX, 48))),
    Kind("crates.io", joined("ci" "o", chars(WORD, 32))),
    Kind("NuGet", joined("oy" "2", chars(LOWER + DIGITS, 43))),
    Kind("Docker Hub", joined("dck" "r_pat_", chars(URL_SAFE, 27))),
    Kind("Heroku", joined("HR" "KU-AA", chars(URL_SAFE, 58))),
    Kind("DigitalOcean", joined("do" "p_v1_", chars(HEX, 64))),
    Kind("Fly.io", joined("FlyV1 fm" "2_", chars(BASE64, 120, 200))),
    Kind("Netlify", joined("nf" "p_", chars(WORD, 36))),
    Kind("Vercel", joined("vc" "p_", chars(WORD, 56))),
    Kind("Supabase", joined("sb" "p_", chars(HEX, 40))),
    Kind("PlanetScale", joined("pscale" "_tkn_", chars(URL_SAFE, 43))),
    Kind("Pulumi", joined("pu" "l-", chars(HEX, 40))),
    Kind("Doppler", joined("dp." "pt.", chars(WORD, 43))),
    Kind("Databricks", joined("da" "pi", chars(HEX, 32))),
    Kind("Terraform Cloud", joined(chars(WORD, 14), ".atlas" "v1.", chars(URL_SAFE, 67))),
    Kind("Vault service token", joined("hv" "s.", chars(URL_SAFE, 24, 90))),
    Kind("Vault batch token", joined("hv" "b.", chars(URL_SAFE, 138, 200))),
    Kind("Vault token of old", joined("s" ".", chars(WORD, 24))),
    Kind("Cloudflare token", joined("cf" "at_", chars(WORD, 40))),
    Kind("Cloudflare origin key", joined("v1" ".0-", chars(HEX, 24), "-", chars(HEX, 146))),
    Kind("New Relic", joined("NR" "AK-", chars(UPPER + DIGITS, 27))),
    Kind("Sentry user token", joined("sntry" "u_", chars(HEX, 64))),
    Kind("Sentry organisation token", joined("sntry" "s_eyJ", chars(BASE64, 100, 160), "_", chars(BASE64, 43))),
    Kind("Grafana", joined("gl" "sa_", chars(WORD, 32), "_", chars(HEX, 8))),
    Kind("Grafana Cloud", joined("gl" "c_", chars(BASE64, 60, 120))),
    Kind("Square", joined("sq" "0atp-", chars(URL_SAFE, 22))),
    Kind("Square access token", joined("EA" "AA", chars(URL_SAFE, 60))),
    Kind("Shopify", joined("shp" "at_", chars(HEX, 32))),
    Kind("PayPal token", joined("access_token$" "production$", chars(LOWER + DIGITS, 16), "$", chars(HEX, 32))),
    Kind("Facebook", joined("EA" "AC", chars(WORD, 100, 180))),
    Kind("Twitter bearer", joined("AAAAAAAAAAAAAAAA" "AAAAAA", chars(WORD, 12), "%2F", chars(WORD, 20, 30), "%3D", chars(WORD, 30))),
    Kind("Dropbox", joined("s" "l.", chars(URL_SAFE, 130, 150))),
    Kind("Notion", joined("nt" "n_", chars(WORD, 46))),
    Kind("Notion of old", joined("sec" "ret_", chars(WORD, 43))),
    Kind("Linear", joined("lin" "_api_", chars(WORD, 40))),
    Kind("Airtable", joined("pa" "t", chars(WORD, 14), ".", chars(HEX, 64))),
    Kind("Figma", joined("fig" "d_", chars(URL_SAFE, 40))),
    Kind("Postman", joined("PM" "AK-", chars(HEX, 24), "-", chars(HEX, 34))),
    Kind("CircleCI", joined("CC" "IPAT_", chars(WORD, 22), "_", chars(HEX, 40))),
    Kind("Buildkite", joined("bk" "ua_", chars(HEX, 40))),
    Kind("Hugging Face", joined("h" "f_", chars(WORD, 34))),
    Kind("OpenAI", joined("s" "k-", chars(WORD, 48))),
    Kind("OpenAI project", joined("s" "k-proj-", chars(URL_SAFE, 74), "T3Blbk" "FJ", chars(URL_SAFE, 74))),
    Kind("Anthropic", joined("s" "k-ant-api03-", chars(URL_SAFE, 93), "AA")),
    Kind("Groq", joined("gs" "k_", chars(WORD, 52))),
    Kind("Replicate", joined("r" "8_", chars(WORD, 37))),
    Kind("xAI", joined("xa" "i-", chars(WORD, 80))),
    Kind("age key", joined("AGE-SECRET" "-KEY-1", chars("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58))),
    Kind("JSON web token", _json_web_token),
    Kind("private key, PKCS#8", pem("PRIVATE" " KEY")),
    Kind("private key, RSA", pem("RSA PRIVATE" " KEY")),
    Kind("private key, EC", pem("EC PRIVATE" " KEY")),
    Kind("private key, OpenSSH", pem("OPENSSH PRIVATE" " KEY")),
    Kind("private key, PGP", pem("PGP PRIVATE" " KEY BLOCK")),
    Kind("private key, encrypted", pem("ENCRYPTED PRIVATE" " KEY")),
)  # fmt: skip

TOLD_BY_ITS_PLACE = (
    Kind("AWS secret key", chars(BASE64, 40), (*assigned("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "SecretAccessKey"),)),
    Kind("AWS session token", chars(BASE64, 200, 300), assigned("AWS_SESSION_TOKEN", "aws_session_token", "SessionToken")),
    Kind("Slack webhook", joined("T", chars(UPPER + DIGITS, 8), "/B", chars(UPPER + DIGITS, 10), "/", chars(WORD, 24)), ("https://hooks.slack" ".com/services/{}", "curl -X POST 'https://hooks.slack" ".com/services/{}' -d x", 'SLACK_URL="https://hooks.slack' '.com/services/{}"')),
    Kind("Discord webhook", chars(URL_SAFE, 68), ("https://discord" ".com/api/webhooks/123456789012345678/{}", "POST https://discordapp" ".com/api/webhooks/1234567890123/{}?wait=1 404")),
    Kind("Sentry DSN", chars(HEX, 32), ("https://{}@o459398.ingest.sentry.io/5306229", "SENTRY_DSN=https://{}@sentry.example/2", 'dsn: "https://{}@o1.ingest.sentry.io/2"')),
    Kind("presigned URL", chars(HEX, 64), ("https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}", "GET https://b.s3.amazonaws.com/k?X-Amz-Signature={}&x=1 403")),
    Kind("Google service account", _service_account_key, ('{{"type": "service_account", "private_key": "{}", "client_email": "a@b.iam.gserviceaccount.com"}}',)),
    Kind("Azure storage connection", joined(chars(BASE64, 86), "=="), ("DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={};EndpointSuffix=core.windows.net", 'connectionString: "AccountName=a;AccountKey={}"')),
    Kind("Azure service bus", joined(chars(BASE64, 43), "="), ("Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}", "SharedAccessKey={};EntityPath=q")),
    Kind("Azure SAS", chars(WORD, 43), ("https://a.blob.core.windows.net/c?sv=2024-11-04&ss=b&sig={}%3D", "az copy 'https://a.blob.core.windows.net/c?sp=r&sig={}%3D&se=2026-01-01'")),
    Kind("Docker config", _basic, ('{{"auths": {{"registry.example": {{"auth": "{}"}}}}}}', '"identitytoken": "{}"')),
    Kind("npmrc", joined(chars(WORD, 36)), ("//registry.example/:_authToken={}", "_auth={}", "//npm.example/:_password={}", "//npm.example/:_authToken=\"{}\"")),
    Kind("netrc", PASSWORD, ("machine git.example login ci password {}", "machine git.example\n  login ci\n  password {}\n", "default login x password {}")),
    Kind("kubeconfig token", chars(URL_SAFE, 40, 80), ("users:\n- name: ci\n  user:\n    token: {}\n", "kubectl --token={} get pods", "kubectl config set-credentials ci --token {}")),
    Kind("kubeconfig key", chars(BASE64, 300, 600), ("    client-key-data: {}\n", "client-key-data: {}")),
    Kind("Kubernetes secret", chars(BASE64, 24, 60), ("kind: Secret\ndata:\n  password: {}\n", "kind: Secret\ndata:\n  api-token: {}\n")),
    Kind("Authorization: Bearer", chars(URL_SAFE, 24, 80), ("Authorization: Bearer {}", '"Authorization": "Bearer {}"', "> authorization: Bearer {}", "-H 'Authorization: Bearer {}'", "headers={'Authorization': 'Bearer {}'}", "Authorization: [Bearer {}]", '\\"Authorization\\":\\"Bearer {}\\"')),
    Kind("Authorization: Basic", _basic, ("Authorization: Basic {}", "-H \"Authorization: Basic {}\"", "> Authorization: Basic {}", "AUTHORIZATION: basic {}", "extraheader = AUTHORIZATION: basic {}", "http.extraheader=AUTHORIZATION: basic {}")),
    Kind("Authorization: token", chars(HEX, 40), ("Authorization: token {}", "curl -H 'Authorization: token {}'", "authorization=token {}")),
    Kind("API key header", chars(WORD, 20, 40), ("X-Api-Key: {}", "-H 'x-api-key: {}'", '"X-API-Key": "{}"', "PRIVATE-TOKEN: {}", "X-Vault-Token: {}", "X-Auth-Token: {}", "JOB-TOKEN: {}", "DD-API-KEY: {}", "api-key: {}", "apikey: {}", "X-Auth-Key: {}")),
    Kind("cookie", chars(URL_SAFE, 24, 60), ("Cookie: session={}", "Set-Cookie: sid={}; Path=/; HttpOnly", "< set-cookie: auth={}; Secure", "curl -b 'session={}' https://x", "curl --cookie session={} https://x")),
    Kind("PostgreSQL URL", PASSWORD, connection("postgres", "postgresql", "postgresql+psycopg2", "jdbc:postgresql")),
    Kind("MySQL URL", PASSWORD, connection("mysql", "mysql+pymysql")),
    Kind("MongoDB URL", PASSWORD, connection("mongodb", "mongodb+srv")),
    Kind("Redis URL", PASSWORD, (*connection("redis", "rediss"), "redis://:{}@cache:6379/0")),
    Kind("AMQP URL", PASSWORD, connection("amqp", "amqps")),
    Kind("URL with a user and password", PASSWORD, connection("https", "http", "ftp", "smtp", "ldaps")),
    Kind("URL with a token as the user", chars(WORD, 24, 40), ("git clone https://{}@git.example/acme/app", "fatal: unable to access 'https://{}@git.example/a.git/': 403", "https://{}:x-oauth-basic@git.example/a.git", "index-url = https://{}@pkg.example/simple")),
    Kind("ADO.NET connection", PASSWORD, ("Server=db;Database=app;User Id=sa;Password={};", "Data Source=db;Uid=app;Pwd={};Encrypt=yes", "Driver={{x}};Server=db;Uid=u;Pwd={}")),
    Kind("libpq connection", PASSWORD, ("host=db user=app password={} dbname=app", "psql 'host=db password={} user=app'", "PGPASSWORD={} psql -h db", "PGPASSWORD='{}' pg_dump")),
    Kind("JDBC parameters", PASSWORD, ("jdbc:mysql://db/app?user=app&password={}", "jdbc:sqlserver://db;user=sa;password={};encrypt=true", "jdbc:postgresql://db/app?password={}&user=a")),
    Kind("MySQL command", PASSWORD, ("mysql -u root --password={} app", "mysqldump --password='{}' -u root app", "MYSQL_PWD={} mysql app")),
    Kind("curl -u", PASSWORD, ("curl -u admin:{} https://x", "curl --user 'ci:{}' -fsSL https://x", "+ curl -sS -u ci:{} -X POST https://x", "curl -uadmin:{} https://x")),
    Kind("--password", PASSWORD, ("docker login -u ci --password {} registry.example", "helm registry login --password={} x", "tool --db-password '{}' run", "twine upload -u __token__ -p {} dist/*", "docker login -u ci -p {} registry.example")),
    Kind("--token", chars(WORD, 20, 40), ("gh auth --token {} x", "sonar-scanner -Dsonar.token={}", "mvn deploy -Dtoken={} -q", "vault login -token={}", "codecov -t {} -f cov.xml", "codecov --token {}", "./deploy --api-key={}", "./deploy --secret-key {} -v", "snyk auth --auth-token={}")),
    Kind("password in an environment dump", PASSWORD, assigned("DB_PASSWORD", "MYSQL_ROOT_PASSWORD", "ADMIN_PASS", "SMTP_PASSWD", "KEYSTORE_PASSPHRASE")),
    Kind("token in an environment dump", chars(WORD, 20, 48), assigned("API_TOKEN", "CI_JOB_TOKEN", "SONAR_TOKEN", "authToken", "access_token", "refresh_token")),
    Kind("secret in an environment dump", chars(WORD, 20, 48), assigned("CLIENT_SECRET", "APP_SECRET", "SECRET_KEY", "DJANGO_SECRET_KEY", "jwt_secret", "SECRET_KEY_BASE")),
    Kind("API key in an environment dump", chars(WORD, 20, 48), assigned("API_KEY", "STRIPE_APIKEY", "api-key", "ENCRYPTION_KEY", "DEPLOY_KEY", "PRIVATE_KEY")),
    Kind("Heroku UUID", UUID, assigned("HEROKU_API_KEY")),
    Kind("Datadog", chars(HEX, 32), assigned("DD_API_KEY", "DATADOG_API_KEY", "DD_APP_KEY")),
    Kind("Cloudflare global key", chars(HEX, 37), assigned("CLOUDFLARE_API_KEY", "CF_API_TOKEN")),
    Kind("Twilio auth token", chars(HEX, 32), assigned("TWILIO_AUTH_TOKEN")),
    Kind("Twitter secret", chars(WORD, 45), assigned("TWITTER_ACCESS_TOKEN_SECRET", "consumer_secret")),
    Kind("LinkedIn secret", chars(WORD, 16), assigned("LINKEDIN_CLIENT_SECRET")),
    Kind("PayPal secret", chars(URL_SAFE, 80), assigned("PAYPAL_CLIENT_SECRET")),
    Kind("Codecov", UUID, assigned("CODECOV_TOKEN")),
    Kind("Artifactory", joined("AK" "Cp", chars(WORD, 69)), assigned("ARTIFACTORY_API_KEY", "JFROG_TOKEN")),
    Kind("Algolia", chars(HEX, 32), assigned("ALGOLIA_API_KEY")),
    Kind("query parameter", chars(WORD, 20, 40), ("GET https://x/y?token={}", "https://x/y?a=1&access_token={}&b=2", "https://x?api_key={}#top", "GET /v1?key={} HTTP/1.1", "https://x/cb?code=1&client_secret={}")),
    Kind("shell trace", chars(WORD, 20, 40), ("+ TOKEN={}", "++ export NPM_TOKEN={}", "+ echo \"token={}\"", "set -x; SECRET={} make")),
    Kind("Python repr", PASSWORD, ("{{'user': 'ci', 'password': '{}'}}", "Config(password='{}', host='db')", "connect(host='db', passwd=\"{}\")", "environ({{'DB_PASSWORD': '{}', 'CI': '1'}})")),
    Kind("Go struct", PASSWORD, ('&{{User:ci Password:{} Host:db}}', 'config: {{Token:{} Retries:3}}')),
    Kind("properties file", PASSWORD, ("spring.datasource.password={}", "sonar.login.password = {}", "db.password: {}")),
    Kind("INI and TOML", PASSWORD, ("[db]\npassword = {}\n", "[registry]\ntoken = \"{}\"\n", "secret='{}'")),
    Kind("XML", PASSWORD, ("<password>{}</password>", "<server><id>x</id><password>{}</password></server>", '<add key="ApiToken" value="{}" />', "<token>{}</token>")),
    Kind("Terraform variable", PASSWORD, ('password = "{}"', 'terraform apply -var "db_password={}"', "TF_VAR_db_password={} terraform plan", '  + master_password = "{}"')),
    Kind("Ansible", PASSWORD, ("ansible_password={}", 'ansible_become_pass: "{}"', "vault_password: {}")),
)  # fmt: skip

KINDS = TOLD_BY_ITSELF + TOLD_BY_ITS_PLACE

ANYWHERE = (
    "{}", "error: cannot push with {}, denied", '"{}"', "'{}'", "`{}`", "value={}", "A={}\nnext line", 'export A="{}"', '{{"a": "{}"}}',
    '{{\\"a\\":\\"{}\\"}}', "a: {}", "  - {}", "https://host.example/x?a={}&b=1", "https://x:{}@host.example/a.git", "2026-01-31T12:00:00.123Z {}",
    "[{}]", "({})", "<{}>", "{},", "{};", "{}.", "{}: not found", "Bearer {}", "--with {} --and", "a\t{}\tb", "#12 0.345 {}", "| {} |",
    "\x1b[31m{}\x1b[0m", "\x1b[1;32m{}\x1b[m", '"line\\n{}\\n"', "a%3D{}%26", "a\\u003d{}", "==> {} <==", "${{{}}}", "ok\r\n{}\r\n",
)  # fmt: skip
PROSE_ONLY = ("{}", "error:\n{}\nend", '"{}"', "  {}", "\x1b[31m{}\x1b[0m", "A='{}'", "{}\n")
"""Where a secret of several lines, or one that is a URL, may stand."""


def samples(kinds: Sequence[Kind], each: int, seed: int) -> Iterator[Sample]:
    """So many values of each kind in each of its places."""
    random = Random(seed)
    for kind in kinds:
        places = kind.places or (PROSE_ONLY if _is_bulky(kind.make(random)) else ANYWHERE)
        for place in places:
            for _ in range(each):
                secret = kind.make(random)
                yield Sample(
                    kind.name,
                    secret,
                    place.replace("{{", "\1")
                    .replace("}}", "\2")
                    .replace("{}", secret)
                    .replace("\1", "{")
                    .replace("\2", "}"),
                )


def _is_bulky(secret: str) -> bool:
    return "\n" in secret or "://" in secret or " " in secret


def wrapped(kinds: Sequence[Kind], each: int, seed: int) -> Iterator[Sample]:
    """So many values of each kind, broken over two or more lines by the width of a terminal."""
    random = Random(seed)
    for kind in kinds:
        for _ in range(each):
            secret = kind.make(random)
            if _is_bulky(secret) or len(secret) < 20:
                continue
            width, indent = random.choice((72, 80, 100, 120)), random.choice(("", "    "))
            before = "remote: the token " + "x" * random.randrange(width - 30, width - 22) + " "
            line = before + secret
            rows = [line[start : start + width] for start in range(0, len(line), width)]
            yield Sample(kind.name, secret, ("\n" + indent).join(rows) + " was refused\nnext line")
