"""What well-known secrets look like. Every pattern is linear: runs are bounded or begin where no run can.

A pattern is only tried when one of its hints stands in the lower-cased text, so ordinary logs cost little.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MASK = "[masked]"

_ENDS_A_WORD = (
    *(r"%[0-9A-Fa-f]{2}", r"\\[nrt]", r"\\u[0-9A-Fa-f]{4}"),
    *(r"\x1b\[[0-9]m", r"\x1b\[[0-9]{2}m", r"\x1b\[[0-9];[0-9]{2}m"),
)
"""Escapes and colours: a token may follow at once, though they end with a letter. Else it begins where a word does."""
_HEAD = re.compile(r"(?:[A-Za-z0-9_/-]|\\[.$])+(?![*+?{])")
"""The letters that every match of a pattern begins with: searching for them is quick."""
_QUOTE = r"(?:\\{0,3}[\"'])?"
_VALUE = r"(?=[^\s\"'&]{0,200}\d)[^\s\"'`<>\[\](){},;$*|&\\]{8,2000}+(?![\[(])"
"""A value that is no word, call or placeholder: no brackets, at least one digit."""
_SCHEME = r"(?:bearer|basic|token|digest|apikey|negotiate)"
_NAME = (
    r"(?:passw(?:or)?d|passphrase|[_.-]pass|secret|token|credentials?|(?:secret[_-]?)?access[_-]?key"
    r"|(?:api|app|private|secret|encryption|signing|deploy|master|account|storage|service)[_-]?key(?:[_-]?base)?)"
)


class Shape(NamedTuple):
    """One kind of secret: when to look for it, and what to put in its place."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str = MASK


def _token(pattern: str, *hints: str) -> Shape:
    """A secret that is told by itself; the whole match goes."""
    head = _HEAD.match(pattern)
    begin = head[0] if head else ""
    letters = f".{{{len(begin) - begin.count(chr(92))}}}"
    free = "|".join([f"(?<![A-Za-z0-9_-]{letters})", *(f"(?<={before}{letters})" for before in _ENDS_A_WORD)])
    return Shape(hints, re.compile(f"{begin}(?:{free}){pattern[len(begin) :]}", re.ASCII))


def _tokens(begins: str, pattern: str) -> list[Shape]:
    """As `_token`, for several words that such a secret may begin with."""
    return [_token(re.escape(begin).replace(r"\-", "-") + pattern, begin.lower()) for begin in begins.split()]


def _after(before: str, value: str, *hints: str) -> Shape:
    """A secret that is told by what stands before it, which stays."""
    return Shape(hints, re.compile(f"({before}){value}", re.ASCII | re.IGNORECASE), r"\1" + MASK)


SHAPES: tuple[Shape, ...] = (
    # Code hosts and registries
    _token(r"gh[pousr]_[A-Za-z0-9]{16,255}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _token(r"github_pat_[A-Za-z0-9_]{16,255}", "github_pat_"),
    _token(r"gl(?:pat|ptt|oas|dt|rt|rtr|cbt|ft|soat|agent|imt|ffct)-[A-Za-z0-9_.=-]{16,300}", "gl"),
    _token(r"ATATT3[A-Za-z0-9_=-]{40,400}", "atatt3"),
    _token(r"ATBB[A-Za-z0-9]{28,60}\b", "atbb"),
    _token(r"npm_[A-Za-z0-9]{30,80}", "npm_"),
    _token(r"pypi-(?:AgE[A-Za-z0-9_-]{13,600}|[A-Za-z0-9_-]{60,600})", "pypi-"),
    _token(r"rubygems_[0-9a-f]{40,60}", "rubygems_"),
    _token(r"cio[A-Za-z0-9]{32}\b", "cio"),
    _token(r"oy2[a-z0-9]{43}\b", "oy2"),
    _token(r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,100}", "dckr_"),
    _after(
        r"\"(?:auth|identitytoken|registrytoken)\"\s{0,4}:\s{0,4}\"", r"[A-Za-z0-9+/=_.-]{8,4000}", '"auth"', "ytoken"
    ),
    _after(r"(?<![A-Za-z0-9.])_(?:auth|authToken|password)=", r"[^\s\"']{6,400}", "_auth", "_password"),
    # Clouds
    *_tokens("AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}\b"),
    _after(r"aws.{0,20}(?:secret|key).{0,20}?[=:]\s{0,4}[\"']?", r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])", "aws"),
    _token(r"AIza[A-Za-z0-9_-]{35}", "aiza"),
    _token(r"ya29\.[A-Za-z0-9_-]{20,2000}", "ya29."),
    _token(r"1//0[A-Za-z0-9_-]{40,200}", "1//0"),
    _token(r"GOCSPX-[A-Za-z0-9_-]{20,60}", "gocspx-"),
    _after(r"\"private_key_id\"\s{0,4}:\s{0,4}\"", r"[0-9a-f]{40}", "private_key_id"),
    _after(
        r"(?:AccountKey|SharedAccessKey|SharedAccessSignature)=",
        r"[A-Za-z0-9+/=%&._~-]{16,400}",
        "accountkey=",
        "sharedaccess",
    ),
    _token(r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", "q~"),
    _token(r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b", "azdo"),
    _token(r"do[opr]_v1_[0-9a-f]{32,128}", "_v1_"),
    _token(r"dapi[0-9a-f]{32}(?:-[0-9])?", "dapi"),
    _token(r"fm[12]_[A-Za-z0-9+/=_-]{40,1000}", "fm1_", "fm2_"),
    _token(r"HRKU-[A-Za-z0-9_-]{30,100}", "hrku-"),
    _token(r"nfp_[A-Za-z0-9]{30,60}", "nfp_"),
    _token(r"vc[a-z]_[A-Za-z0-9]{24,80}", "vcp_", "vci_", "vca_", "vcr_", "vck_"),
    _token(r"cf(?:at|ut|k)_[A-Za-z0-9_-]{32,80}", "cfat_", "cfut_", "cfk_"),
    _token(r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}", "v1.0-"),
    _token(r"sbp_[0-9a-f]{40}", "sbp_"),
    _token(r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{30,80}", "pscale_"),
    _token(r"pul-[0-9a-f]{40}", "pul-"),
    _token(r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{30,80}", "dp."),
    _token(r"hv[sbr]\.[A-Za-z0-9_-]{20,400}", "hvs.", "hvb.", "hvr."),
    _token(r"s\.(?=[A-Za-z]{0,24}\d)(?=[a-z0-9]{0,24}[A-Z])[A-Za-z0-9]{24}(?![A-Za-z0-9_(]|\.[A-Za-z0-9_])", "s."),
    _token(r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,80}", ".atlasv1."),
    _token(r"AGE-SECRET-KEY-1[A-Z0-9]{50,70}", "age-secret-key-"),
    # Services
    _token(r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,300}", "xox"),
    _token(r"xapp-[0-9]-[A-Za-z0-9-]{10,300}", "xapp-"),
    _after(r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"[A-Za-z0-9/_-]{16,200}", "hooks.slack.com"),
    _after(r"discord(?:app)?\.com/api/webhooks/[0-9]{5,30}/", r"[A-Za-z0-9_-]{16,200}", "/api/webhooks/"),
    *_tokens("sk_live_ rk_live_ pk_live_ sk_test_ rk_test_ pk_test_", r"[A-Za-z0-9]{10,250}"),
    _token(r"whsec_[A-Za-z0-9+/=]{16,100}", "whsec_"),
    _token(r"sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{20,60}", "sq0"),
    _token(r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", "shp"),
    _token(r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}", "sg."),
    *_tokens("SK AC", r"[0-9a-f]{32}\b"),
    _token(r"[0-9a-f]{32}-us[0-9]{1,2}\b", *(f"-us{digit}" for digit in range(1, 10))),
    _token(r"key-[0-9a-f]{32}\b", "key-"),
    _token(r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}", "xkeysib-"),
    _token(r"EAA[A-Za-z0-9_-]{60,400}", "eaa"),
    _token(r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}", "$production$"),
    _token(r"A{18,24}(?=[A-Za-z0-9]{0,100}%[0-9A-F]{2})[A-Za-z0-9%]{50,200}", "a" * 18),
    _token(r"sl\.(?:u\.)?[A-Za-z0-9_-]{100,1500}", "sl."),
    _token(r"secret_[A-Za-z0-9]{43}\b", "secret_"),
    _token(r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}", "pat"),
    *_tokens(
        "M N O",
        r"[DTjz][AEIMQUYcgk][w-z0-5](?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){4,6}[A-Za-z0-9_-]{0,4}"
        r"\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,40}",
    ),
    Shape(("aa",), re.compile(r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{32,34}(?![A-Za-z0-9_-])", re.ASCII)),
    _token(r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}", "lin_"),
    _token(r"gl(?:c|sa)_[A-Za-z0-9+/=_-]{30,400}", "glc_", "glsa_"),
    _token(r"sntry[su]_[A-Za-z0-9+/=_-]{30,400}", "sntry"),
    _token(r"NRAK-[A-Z0-9]{20,40}", "nrak-"),
    _token(r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", "pmak-"),
    _token(r"figd_[A-Za-z0-9_-]{20,80}", "figd_"),
    _token(r"ntn_[A-Za-z0-9]{40,60}", "ntn_"),
    _token(r"CCI(?:PAT|PRJ)_[A-Za-z0-9_]{20,100}", "ccip"),
    _token(r"bkua_[0-9a-f]{40}", "bkua_"),
    # Language models
    _token(r"hf_[A-Za-z0-9]{30,60}", "hf_"),
    _token(r"sk-(?:ant|proj|svcacct|admin|or|None)-[A-Za-z0-9_-]{16,300}", "sk-"),
    _token(r"sk-[A-Za-z0-9]{20,100}(?![A-Za-z0-9-])", "sk-"),
    *_tokens("gsk_ r8_ pplx- xai-", r"[A-Za-z0-9]{32,100}"),
    # Shapes of protocols
    _token(r"eyJ[A-Za-z0-9_-]{8,8000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,2000}", "eyj"),
    _after(
        rf"authorization{_QUOTE}[ \t]{{0,3}}[:=][ \t]{{0,3}}\[?{_QUOTE}(?:{_SCHEME}[ \t]{{1,3}})?",
        rf"(?!{_SCHEME}\s)[^\s\"'\[\]\\]{{6,8000}}",
        "authorization",
    ),
    _after(r"\bbearer[ \t]{1,3}", r"(?=[A-Za-z._~+/=-]{0,200}\d)[A-Za-z0-9._~+/=-]{16,8000}", "bearer"),
    _after(
        r"\b(?:[a-z]{1,8}-(?:api|app|auth|application)-key|x-(?:auth|vault|gitlab)-token|(?:private|job|deploy)-token)"
        rf"{_QUOTE}[ \t]?[:=][ \t]?{_QUOTE}",
        r"[^\s\"'\[\\]{6,4000}",
        "-key",
        "-token",
    ),
    _after(
        rf"(?<![\w./-])(?:set-)?cookie{_QUOTE}[ \t]{{0,2}}:[ \t]{{0,2}}{_QUOTE}(?=[^\s=;]{{1,64}}=)",
        r"[^\r\n\"'\[\\]{6,8000}",
        "cookie",
    ),
    _after(r"://[^\s/@:\"'<>\[]{0,128}:", r"[^\s/@\"'<>\[]{1,300}(?=@)", "://"),
    _after(r"://", r"[A-Za-z0-9_.~%-]{20,300}(?=(?::[^\s/@]{0,64})?@)", "://"),
    _after(
        r"[?&](?:sig|signature|token|access_token|refresh_token|id_token|key|api_key|apikey|client_secret|password"
        r"|x-amz-signature|x-amz-security-token|x-goog-signature)=",
        r"[^&\s\"'<>\[]{6,4000}",
        "=",
    ),
    # Assignments and flags
    _after(
        rf"{_NAME}{_QUOTE}(?:=(?!=)|[ \t]{{0,3}}[:=][ \t]{{1,3}}|:){_QUOTE}",
        _VALUE,
        "pass",
        "secret",
        "token",
        "key",
        "credential",
    ),
    _after(r"client-key-data[\"']?:[ \t]{1,4}[\"']?", r"[A-Za-z0-9+/=]{16,16000}", "client-key-data"),
    _after(r"(?:;[ \t]?|[?&]|\bmysql_)pwd=[\"']?", _VALUE, "pwd="),
    _after(rf"<[a-z:._-]{{0,40}}{_NAME}>", r"[^\s<>]{6,400}", "<"),
    _after(rf"=[\"'][a-z:._-]{{0,40}}{_NAME}[\"'][ \t]{{1,4}}value=[\"']", r"[^\"'\s]{6,400}", "value="),
    _after(rf"(?<![A-Za-z0-9_-])--?[a-z0-9-]{{0,32}}{_NAME}[ =][\"']?", _VALUE, "pass", "secret", "token", "key"),
    _after(r"\blogin\s{1,8}[^\s]{1,128}\s{1,8}password\s{1,8}", r"[^\s]{3,300}", "password"),
    _after(r"\bcurl\b[^\n]{0,200}?\s(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,100}:", r"[^\s\"'\[]{3,300}", "curl"),
    _after(r"\bcurl\b[^\n]{0,200}?\s(?:-b|--cookie)[ =]?[\"']?[^\s=\"']{1,100}=", r"[^\s\"'\[]{3,4000}", "curl"),
    _after(
        r"\b(?:twine\s{1,4}upload|(?:docker|podman|buildah|skopeo|nerdctl|helm|oras|crane)\b[^\n]{0,100}?\slogin)\b"
        r"[^\n]{0,200}?\s-p[ =][\"']?",
        r"(?![-\[])(?=[^\s]{0,200}\d)[^\s\"'\[]{6,300}",
        " -p",
    ),
    _after(r"\bcodecov\b[^\n]{0,200}?\s-t[ =][\"']?", r"[^\s\"'\[]{16,300}", "codecov"),
)
"""In the order in which they are applied: a token that is told by itself goes before what stands around it."""

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINES = re.compile(r"[A-Za-z0-9+/=:,\\\s]{0,16384}")
_LONGEST_KEY = 16 * 1024


def mask_private_keys(text: str) -> str:
    """PEM private keys go, whatever stands before each of their lines; without an end, as far as they look like one."""
    parts, done = [], 0
    while begin := _BEGIN.search(text, done):
        end = _END.search(text, begin.end(), begin.end() + _LONGEST_KEY) or _KEY_LINES.match(text, begin.end())
        parts += [text[done : begin.start()], MASK]
        done = end.end() if end else begin.end()
    return "".join((*parts, text[done:]))
