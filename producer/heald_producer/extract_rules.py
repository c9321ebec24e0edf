"""What lines of logs mean: how much each kind of line says about a failure, and which tool writes it.

Written from what tools print in general. Each rule is a score and a pattern for google-re2, which matches all rules
against a line in one pass of linear time; the highest score wins, unless a rule of `HARMLESS` fits a line that only
looks like an error.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import re2

STRONG, MEDIUM, WEAK = 8.0, 5.0, 2.0
"""Names what failed; some error; a word that errors have."""
LONGEST_READ = 2000

HEADS: tuple[tuple[float, str, str], ...] = (
    # Compilers and linkers
    (9, "javac", r"\.(?:java|kt|scala|groovy):\[?\d+(?:[,:]\d+)?\]?:? ?(?:error|e):"),
    (9, "maven", r"^\[ERROR\] \S+\.(?:java|kt|scala|groovy):(?:\[\d+(?:,\d+)?\]|\d+: \S)"),
    (7.5, "maven", r"^\S+\.(?:java|kt|scala|groovy):(?:\[\d+(?:,\d+)?\]|\d+: \S)"),
    (9, "kotlinc", r"^e: (?:file://)?\S+\.kts?:"),
    (9, "scalac", r"^\[error\] \S+\.scala:\d+"),
    (9, "gcc", r"\.(?:[chmS]|cc|cpp|cxx|hh|hpp|mm|f90|cu|inc):\d+(?::\d+)?: (?:fatal |internal compiler )?error:"),
    (9, "", r"\S:\d+(?::\d+)?: (?:fatal |internal compiler )?error:"),
    (9, "rustc", r"^error(?:\[E\d{4}\])?: "),
    (9, "tsc", r"(?:\(\d+,\d+\)|:\d+:\d+)(?::| -) error TS\d+"),
    (9, "msbuild", r"(?:\(\d+(?:,\d+)*\)|[A-Za-z]) ?: (?:fatal )?error [A-Z]{2,8}\d{1,5}\b"),
    (9, "go", r"^(?:\./)?\S+\.go:\d+:\d+: "),
    (9.1, "ghc", r"^\S+\.hs:\d+:\d+: (?:error|fatal)"),
    (8.5, "ocaml", r"^File \"[^\"]+\", lines? \d+(?:-\d+)?, characters"),
    (9.1, "swiftc", r"\.swift:\d+:\d+: error:"),
    (9, "elixir", r"^\*\* \([\w.]+Error\)"),
    (9, "erlang", r"\.erl:\d+(?::\d+)?: (?:syntax error|\S+ undefined|undefined)"),
    (
        9,
        "ld",
        r"undefined reference to |undefined symbol|unresolved external symbol|duplicate symbol|multiple definition of",
    ),
    (9, "ld", r"\bld(?:\.\w+)?: (?:error|cannot find|fatal)|^ld: |ld returned 1|library not found for -l"),
    (9, "cmake", r"^CMake Error"),
    (8, "configure", r"^configure: error:"),
    (7.5, "make", r"\*\*\* (?:No rule to make target|missing separator|recipe)|^make.*: (?:command )?[Nn]o such file"),
    (8, "ninja", r"^ninja: error:|^FAILED: "),
    (
        8.5,
        "bazel",
        r"^ERROR: \S+(?:BUILD|\.bzl|\.bazel)\S*:\d+|^ERROR: .*no such (?:package|target)|^FAILED: Build did NOT",
    ),
    (9, "php", r"(?:PHP )?(?:Fatal|Parse|Recoverable fatal) error: "),
    (9, "perl", r" at \S+ line \d+(?:\.$|, near|, <)"),
    (
        9,
        "ruby",
        r"^\S+\.rb:\d+:in [`'].*: |^\S+\.(?:rb|erb):\d+: .*(?:[Ee]rror|unexpected)|\([A-Z]\w*(?:::\w+)*(?:Error|Exception|NotFound|Missing)\w*\)$",
    ),
    (8.5, "webpack", r"^(?:ERROR in |Module (?:not found|build failed|parse failed)|ModuleNotFoundError)"),
    (8.5, "", r"^(?:SyntaxError|TypeError|ReferenceError|RangeError|URIError|EvalError|AggregateError)\b"),
    (7.5, "sphinx", r"^\S+\.(?:rst|md|py)(?::docstring of \S+)?:\d*: (?:WARNING|ERROR|SEVERE)"),
    (8.5, "latex", r"^! (?:LaTeX Error|Undefined|Package|Missing|Emergency)"),
    (
        7.5,
        "shell",
        r"(?:^|/|\s)(?:ba|z|da|k)?sh: (?:line )?\d*:? ?.*(?:not found|No such|denied|error|unbound|unexpected|No space)",
    ),
    (
        7.5,
        "shell",
        r"^\S+: line \d+: |: command not found$|: (?:not found|Permission denied|No such file or directory)$",
    ),
    # Exceptions and crashes
    (
        9,
        "",
        r"^(?:[\w.$/<>]+[.:])?[A-Z][\w$]*(?:Error|Exception|Failure|Fault|Interrupt|Exit|Warning)(?: \[\w+\])?(?::|$)",
    ),
    (
        8.5,
        "java",
        r"^Exception in thread |^\s*(?:Suppressed|Caused by): |^(?:[a-z_]\w*\.)+[A-Z][\w$]*(?:Error|Exception|Failure)\w*(?::|$)",
    ),
    (8.5, "", r"^(?:Unhandled|Uncaught|uncaught)\b.*(?:[Ee]xception|[Ee]rror|[Rr]ejection)"),
    (6, "python", r"^Traceback \(most recent call last\):"),
    (6, "python", r"^During handling of the above exception|^The above exception was the direct cause"),
    (9.5, "rust", r"^thread '.*' (?:\(\d+\) )?panicked at"),
    (9.5, "go", r"^panic: |^fatal error: |^\[signal SIG|^WARNING: DATA RACE"),
    (
        9.5,
        "sanitizer",
        r"ERROR: (?:\w+Sanitizer|libFuzzer)|: runtime error: |^SUMMARY: \w+Sanitizer|^WARNING: \w+Sanitizer",
    ),
    (9, "valgrind", r"^==\d+== (?:Invalid|Conditional jump|Process terminating|.*definitely lost: [1-9])"),
    (
        9.5,
        "",
        r"(?i)segmentation fault|core dumped|\bsig(?:segv|abrt|bus|ill|fpe)\b|\bbus error\b|illegal instruction|stack smashing|double free|terminate called after",
    ),
    (
        9.5,
        "jvm",
        r"A fatal error has been detected by the Java Runtime|^# (?:There is insufficient memory|A fatal error)|\bThe forked VM terminated",
    ),
    (
        9.5,
        "",
        r"(?i)out of memory|OutOfMemory|heap out of memory|MemoryError|cannot allocate memory|oom-?kill|\bOOMKilled\b|std::bad_alloc|GC overhead limit",
    ),
    (9.5, "", r"(?i)no space left on device|disk quota exceeded|ENOSPC|read-only file system"),
    (8, "", r"^(?:\S+: )?(?:line \d+: +\d+ )?(?:Killed|Aborted|Terminated)\b|Killed process \d+"),
    (9.5, "", r"\(signal \d+\)$"),
    (
        8,
        "kernel",
        r"^(?:\[ *\d+\.\d+\] )?(?:Kernel panic|BUG: |Oops|Call Trace:|INFO: task .* blocked|Unable to handle kernel)",
    ),
    # Test runners
    (9, "pytest", r"^E   +\S"),
    (
        8.5,
        "pytest",
        r"^(?:FAILED|ERROR) \S+(?:\.py|::)\S*|^_{3,} .* _{3,}$|^\S+\.py:\d+: (?:in |\w+(?:Error|Exception|Failed|Warning)?$)",
    ),
    (
        8.5,
        "pytest",
        r"^(?:\[gw\d+\].*)?INTERNALERROR> |^ERROR (?:collecting|at (?:setup|teardown))|ImportError while (?:loading|importing)|^Interrupted: \d+ error",
    ),
    (8.5, "unittest", r"^(?:FAIL|ERROR): (?:test|\w+ \()\w*"),
    (8, "", r"^FAILED \((?:failures|errors)=|^=+ .*\b[1-9]\d* (?:failed|errors?)\b.* =+$|^!+ .* !+$"),
    (8.5, "go", r"^\s*--- FAIL: "),
    (6, "go", r"^FAIL\t\S+|^FAIL$|^FAIL\s+\S+\s+(?:\[|\d)"),
    (8.5, "cargo", r"^test .* \.\.\. FAILED$|^---- .* std(?:out|err) ----$|^test result: FAILED|^error: test failed"),
    (8.5, "", r"^\s*(?:left|right): |^assertion .*failed"),
    (8.5, "surefire", r"<<< (?:FAILURE|ERROR)!|^(?:\[ERROR\] )?\s*Tests run:.*(?:Failures: [1-9]|Errors: [1-9])"),
    (8, "surefire", r"^(?:\[ERROR\] )?(?:Failed tests|Tests in error|Failures|Errors):"),
    (8.5, "surefire", r"^\[ERROR\]\s+[\w$.]+\.\w+:\d+"),
    (
        8.5,
        "gradle",
        r"^\S+(?: > .+)+ FAILED$|^> Task .* FAILED$|^Execution failed for task|^> (?:Could not|Compilation failed|There were failing|Process ')",
    ),
    (
        8,
        "gradle",
        r"^\* What went wrong:|^A problem occurred|^FAILURE: Build failed with|^Could not (?:resolve|determine|find|get)",
    ),
    (8.5, "rspec", r"^\s*Failure/Error: |^rspec \S+(?::\d+|\[)"),
    (8, "rspec", r"^\s*\d+\) (?:Failure:|Error:|.+)$"),
    (
        7,
        "",
        r"^(?:Failures|Failed (?:tests|examples|scenarios)|Errors|FAILURES!|There (?:was|were) [1-9]\d* (?:failure|error)s?).?:?$",
    ),
    (
        8,
        "",
        r"^[1-9]\d* (?:examples?|tests?|runs|scenarios?)\b.*\b[1-9]\d* (?:failures?|errors?|failed)\b|^Tests: +.*[1-9]\d* failed|^Test Suites: +[1-9]\d* failed",
    ),
    (8.5, "phpunit", r"^Failed asserting that|^Tests: \d+, Assertions: \d+.*(?:Errors|Failures): [1-9]"),
    (8.5, "jest", r"^\s*● .+ › |^\s*● .+|^FAIL \S+\.(?:[jt]sx?|mjs|vue)"),
    (8, "", r"^\s*(?:✗|✖|✘|×|✕|❌|⨯|✗) ?\S"),
    (8.5, "mocha", r"^\s*\d+ (?:failing|failed)\b"),
    (8.5, "", r"(?:Assertion|assertion)(?:Failed)?(?:Error)?\b.*(?:failed|:)|^\s*(?:AssertionError|assert\w* failed)"),
    (
        8,
        "",
        r"(?i)^\s*(?:\+ )?(?:-\s)?(?:expected|actual|received|got|want|wanted)\b[^a-z]{0,3}[:=<(]| but (?:was|got|found):? ?<|expected:? .*(?: but (?:was|got|found)|\bto (?:be|equal|eq|have|contain|match|include|throw|raise)\b|, (?:got|found|but)\b)",
    ),
    (8.5, "tap", r"^\s*not ok\b"),
    (8, "gtest", r"^\[  FAILED  \]|\S:\d+: Failure$"),
    (
        8,
        "ctest",
        r"\*\*\*(?:Failed|Exception|Timeout|Not Run)|^The following tests FAILED:|^\d+% tests passed, [1-9]\d* tests? failed",
    ),
    (8, "catch2", r"^\S+:\d+: FAILED:$|^test cases: .*[1-9]\d* failed"),
    (8.5, "dotnet", r"^\s*(?:Failed|X) [\w.]+(?:\(.*\))? \[|^\s*Error Message:|\[FAIL\]$|^Failed!\s+- Failed:"),
    (8.5, "elixir", r"^\s+\d+\) (?:test|property) |^[1-9]\d* (?:tests|doctests?),.* [1-9]\d* failures?"),
    (8.5, "eunit", r"^\*\*\*? ?.*failed|\*failed\*|^\S+_tests?:\w+.*\.\.\.\*"),
    (8.5, "swift", r"error: -\[|^Test Case .* failed|: error: .* : XCTAssert"),
    (8.5, "cypress", r"CypressError|Timed out retrying"),
    (8, "", r"^\s*\d+\) .+:$"),
    (8, "scalatest", r"\*\*\* FAILED \*\*\*|^\[error\] Failed tests:|^\[error\] Failed:"),
    (8, "junit", r"^\s*\d+\) \w+\([\w.]+\)|^There was [1-9]|^\[X\] |✘ |\[X\]"),
    # Linters and style
    (
        8,
        "",
        r"^(?:\[?\w*\]? )?(?:\./|/)?[\w@./\\+-]+\.\w{1,6}:\d+(?::\d+)?:? (?:[EFWCRN]\d{2,5}\b|error\b|\[?[CWEF]\]?:|failed|fatal)",
    ),
    (6.5, "", r"^(?:\./|/)?[\w@./\\+-]+\.\w{1,6}:\d+(?::\d+)?:? \S"),
    (7.5, "eslint", r"^\s+\d+:\d+\s+error\s"),
    (
        8,
        "",
        r"^✖ \d+ problems?|[1-9]\d* offenses? detected|[1-9]\d* (?:errors?|problems?|violations?)(?: found| generated|$|,| \()|^Found [1-9]\d* (?:error|problem|issue)",
    ),
    (
        7.5,
        "",
        r"^would reformat |^Oh no!|Code style issues|^\[warn\] .*\.\w+$|^Diff in .* at line|needs? (?:formatting|to be formatted)|files? would be reformatted",
    ),
    (7.5, "checkstyle", r"^\[(?:ERROR|WARN)\] \S+:\d+(?::\d+)?: .*\[\w+\]$"),
    # Package managers
    (
        8,
        "npm",
        r"^(?:npm ERR!|npm error) (?:code E[A-Z0-9]+|\d{3} |[Cc]ould not|[Cc]annot|[Ii]nvalid|notarget|network|peer|ERESOLVE|missing|Found:|.* (?:not found|failed))",
    ),
    (
        8,
        "yarn",
        r"^error (?:An unexpected|Couldn't|couldn't|\S+@|Your lockfile|Incorrect|Package|Found incompatible|\"|\S+: )|^➤ YN\d{4}:.*(?:failed|couldn't|error|Error)",
    ),
    (8, "pnpm", r"ERR_PNPM_"),
    (
        8.5,
        "pip",
        r"^ERROR: (?:Could not|No matching|Cannot|ResolutionImpossible|Failed|Command|Package|Ignored|pip's)|^\s*error: (?:subprocess|metadata|command)",
    ),
    (8, "poetry", r"version solving failed|^\s*Because .* (?:depends on|requires|doesn't match)|SolverProblemError"),
    (
        8.5,
        "bundler",
        r"^(?:Could not find|Bundler could not|An error occurred while installing|Your Ruby version|Gem::)|\bERROR: Failed to build gem",
    ),
    (8, "composer", r"^\s*Problem \d+$|^Your requirements could not be resolved|^\s+- .* (?:requires|conflicts)"),
    (8.5, "cargo", r"^error: (?:failed|could not|no matching|package)|failed to select a version"),
    (
        8.5,
        "maven",
        r"^\[(?:ERROR|FATAL)\] (?:Failed to execute goal|Non-resolvable|Unresolveable|Could not|The build could not|COMPILATION ERROR|Malformed|'dependencies)|Could not (?:resolve dependencies|transfer artifact|find artifact)",
    ),
    (
        9,
        "apt",
        r"^E: |^(?:Err|W: Failed):?\d* |Unable to (?:locate package|fetch|correct problems)|unmet dependencies|^dpkg: error|^dpkg-deb: error",
    ),
    (
        8.5,
        "dnf",
        r"^Error: (?:Unable to find|Failed|Package|Nothing|Cannot|No package)|^No package .* available|^error: Failed dependencies",
    ),
    (8, "conda", r"UnsatisfiableError|PackagesNotFoundError|ResolvePackageNotFound|LibMambaUnsatisfiableError"),
    (
        8.5,
        "go",
        r"^go: .*(?:error|unknown|invalid|missing|cannot|not found|mismatch|fail|requires)|no required module provides|cannot find package|checksum mismatch",
    ),
    # Infrastructure
    (
        9,
        "git",
        r"^(?:stderr: )?fatal: [^\[]|^error: (?:pathspec|RPC failed|failed to push|unable to|could not)|^CONFLICT \(",
    ),
    (
        8.5,
        "docker",
        r"^(?:docker: )?Error response from daemon|^ERROR: (?:failed to (?:solve|build)|Service|for )|failed to solve|^The command '.*' returned a non-zero code|Cannot connect to the Docker daemon|manifest unknown|toomanyrequests",
    ),
    (
        8.5,
        "kubernetes",
        r"ImagePullBackOff|ErrImagePull|CrashLoopBackOff|FailedScheduling|^Error from server|DeadlineExceeded",
    ),
    (8.5, "helm", r"^Error: (?:INSTALLATION|UPGRADE|failed|YAML|chart)"),
    (8.5, "terraform", r"^│ Error: "),
    (8.5, "ansible", r"^fatal: \[|^failed: \[|^ERROR! "),
    (8.5, "curl", r"^curl: \(\d+\)|^wget: |ERROR 40\d|ERROR 50\d"),
    (
        9,
        "",
        r"(?i)(?:could not|couldn't|can't|cannot) resolve host|name or service not known|temporary failure in name resolution|ENOTFOUND|EAI_AGAIN|getaddrinfo|no such host|unknown ?host|NXDOMAIN",
    ),
    (
        8.5,
        "",
        r"(?i)connection (?:refused|reset|timed out|closed)|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|network is unreachable|no route to host|broken pipe|unexpected (?:EOF|disconnect)|early EOF|remote end hung up|i/o timeout|read timed out|connect timed out|socket hang up",
    ),
    (
        8.5,
        "",
        r"(?i)certificate (?:verify|has expired|signed by|problem|is not)|CERTIFICATE_VERIFY_FAILED|SSLError|SSLHandshake|tls handshake|handshake fail|PKIX path|self[- ]signed certificate",
    ),
    (
        8.5,
        "",
        r"(?i)rate limit|too many requests|\b(?:HTTP|status|code|response|error|server)\b[^\n]{0,20}\b(?:401|403|404|407|429|50[0-4])\b|\b(?:429|50[234]) (?:too|bad|service|gateway|server)|service unavailable|bad gateway|gateway time-?out|internal server error",
    ),
    (
        8.5,
        "",
        r"(?i)permission denied|access (?:is )?denied|authentication (?:failed|required)|\bunauthorized\b|invalid (?:credentials|username|token)|could not read (?:username|password)|host key verification|bad credentials",
    ),
    (
        8.5,
        "",
        r"(?i)(?:timed? ?out|timeout)(?: (?:after|of|exceeded|waiting|while|reached|expired)|$|:|!)|exceeded the (?:maximum|timeout)|no output has been received|deadline exceeded|maximum (?:execution )?time|stalled|job was cancell?ed|execution expired",
    ),
    (7.5, "", r"^##\[error\]|^::error"),
    (
        7.5,
        "",
        r"^(?:hudson|jenkins|java|org|com)\.[\w.]+(?:Exception|Error)\b|^ERROR: Error (?:cloning|fetching)|^(?:Also|Caused):",
    ),
    (7.5, "", r"^ERROR: (?:Job failed|Preparation failed|Uploading)|^WARNING: Failed to pull"),
    # Anything else that calls itself an error
    (7.5, "", r"^(?:\[[\w .:/-]{1,40}\]:? ?){0,3}(?:\w{1,20} )?(?:FATAL|CRITICAL|SEVERE|EMERG\w*|PANIC)\b"),
    (
        7,
        "",
        r"^(?:\[[^\]]{1,40}\]:? ?){0,3}(?:ERROR|Error|error)\b(?:[ :!]|\]|$)|^\[(?:ERROR|error|ERR|E)\] *\S|^[\w./-]{1,60}: (?:error|ERROR|Error|fatal)\b",
    ),
    (6, "", r"\b(?:ERROR|FATAL|FAILED|FAILURE|FAIL)\b"),
    (
        6,
        "",
        r"(?i)\b(?:fatal )?error: |\bexception: |\bfailed to \w+|\bunable to \w+|\b(?:could not|couldn't|cannot|can't) (?:be )?\w+|\bno such (?:file|module|element|property|method)|\bnot (?:found|installed|recognized|declared|defined|supported|permitted)\b|\bdoes not (?:exist|match|compile)|\bis (?:missing|undefined|not a)\b|\bundefined (?:method|variable|function|index|constant|local)|\bunexpected (?:token|end|identifier|character|indent|error)|\bmissing (?:dependency|required|file|module|return)|\bnull ?pointer|\bnil pointer|\bsyntax error|\bmismatch",
    ),
    (
        5,
        "",
        r"(?i)\bcompilation (?:failed|error|aborted)|\bbuild (?:failed|failure)|\btests? failed|\bfailing tests?|\bfailed with\b|\bcrash(?:ed|es)?\b|\bdeadlock|\babort(?:ed|ing)\b|\bconflict|\bcorrupt|\bbroken\b|\brejected\b|\bviolat",
    ),
    (3.5, "", r"(?i)\bfail(?:ed|s|ure|ures|ing)?\b|\berrors?\b|\bexceptions?\b"),
    (2, "", r"(?i)warning|error|fail|deprecat|denied|invalid|missing|unexpected|expected|refused|timeout|\bwarn\b"),
)
"""Score, tool where the line tells it, pattern."""

HARMLESS = (
    r"(?i)-werror|-Wno-|--fail-|--no-fail|on[-_]?error|if[-_]no|fail[-_]?fast|error[-_]prone|continue[-_]on|error_reporting|fail-under|exit-on|set -e\b|ignore[-_]errors|errors?=ignore|\|\| true|2>(?:&1|/dev/null)",
    r"^\s*(?:\$|\+|\+\+|>|%|#) \S|^\s*(?:echo|export|if|then|else|elif|fi|exit|set|source|env|declare|local|return|try|catch|def|function|import|from|var|let|const)\b",
    r"(?i)\b(?:retry|retrying|will retry|attempt \d+|trying again|falling back|ignored?|ignoring|skipping|skipped|expected failure|allowed to fail|non-fatal|deprecat\w*|suppress\w*|recovered|harmless|handled)\b",
    r"^(?:\[?(?:WARN(?:ING)?|warn(?:ing)?|Warning)\]?\b)|\S:\d+(?::\d+)?: (?:warning|note|remark|info):|^npm WARN|^npm warn",
    r"is internal proprietary API|\[(?:deprecation|unchecked|removal|rawtypes|serial|cast)\]|has been deprecated|uses (?:or overrides a deprecated|unchecked)",
    r"(?i)\b(?:fix(?:es|ed)?|add(?:s|ed)?|improve[sd]?|handle[sd]?|merge[sd]?|catch(?:es)?) .{0,40}\b(?:error|fail|exception)",
)
"""Lines that talk of errors and are none: at most `WEAK`, unless a rule of 8 or more fits."""

CHATTER = (
    r"(?i)(?:^|[^\d.])0 (?:errors?|failures?|failed|failing|problems?|warnings?|offenses)\b",
    r"(?i)\bno (?:errors?|failures?|problems?|offenses|issues|warnings)\b|without (?:errors?|failures?|problems)|(?:errors?|failures?|failed)(?: in tests)?[:=] ?0\b",
    r"^\s*(?:ok\b|PASS(?:ED)?\b|✓|✔|√|✅|\[ +OK +\]|\[ +RUN +\]|\[PASS\]|--- PASS|=== RUN|=== (?:PAUSE|CONT)|\.{3} ok)",
    r"(?:\.{3,} ?(?:ok|OK|passed|Passed|PASSED|yes|no|done|skipped|ignored)| PASSED(?: +\[ *\d+%\])?| ✓| OK)$| (?:PASSED|SKIPPED|XFAIL|XPASS)(?: |$)",
    r"(?i)^\s*(?:download(?:ing|ed)|fetching|get:\d+|hit:\d+|unpacking|selecting|setting up|preparing to|copying|creating|compiling|building|adding|inflating|extracting|linking|installing|requirement already|collecting|using cached|checking|running|testing|cc|cxx|ar|\[ *\d+%\]|\[\d+/\d+\] (?:building|compiling|linking|bundling)|create mode|delete mode|rename|a  |adding:)\b",
    r"^(?:\[?(?:INFO|DEBUG|TRACE|NOTICE|info|debug|trace|notice|VERBOSE)\]?\b|\[(?:INFO|DEBUG|info|debug)\])",
    r"(?i)^\[?(?:info|debug|trace|notice|verbose)\]?:? |^\[(?:main|[\w-]{1,40})\] (?:INFO|DEBUG|TRACE) |^Progress|^\s*(?:sending|receiving|resolving|counting|compressing|remote:|archiving|uploading|saving|restoring|cleaning|pulling|waiting) ",
)
"""What tools say while all goes well; no error's context either."""

SYMPTOMS = (
    r"(?i)\b(?:exit(?:ed|s)?|returned|failed|finished|completed|done|terminated)(?: with| in)?:? ?(?:an? )?(?:non-?zero )?(?:exit )?(?:code|status|error code)[ :=]*-?\d*",
    r"^The command \".*\" (?:exited with|failed)|^Done\. Your build exited with|^Your build has been stopped|^Build step '.*' (?:marked|changed)|^Finished: |^script returned exit code",
    r"^(?:make|gmake|mingw32-make|ninja)(?:\[\d+\])?: .*(?:\*\*\*|Error \d|stopped)|^ninja: build stopped|^make.*Waiting for unfinished",
    r"^npm (?:ERR!|error) (?:errno|code ELIFECYCLE|Exit status|Failed at the|Test failed|Lifecycle script|Tell the author|command|path|workspace|location)|^error Command failed|ELIFECYCLE|^lerna ERR!",
    r"^BUILD FAIL|^\[(?:INFO|ERROR)\] BUILD (?:FAILURE|ERROR)|^Build FAILED|^FAILED$|^FAILURE$|^error: (?:aborting due to|could not compile|process didn't exit|Recipe)|^error: build failed|^\[error\] \(.*\) .*(?:failed|unsuccessful)",
    r"^(?:subprocess\.)?CalledProcessError|^Process completed with|^ERROR: (?:Job failed|Command errored|script)|^🚨|^(?:ERROR|Error): Process|^rake aborted!|^Tasks: TOP|InvocationError|^exit status \d|^FAIL\t|^FAIL$|^panic: test",
)
"""How it ended, not why: quoted, but not as a reason."""

ANCHORS = (
    r"^The command \".*\" (?:exited with [1-9]|failed)|^##\[error\](?:Process completed|Bash exited|.*exit code [1-9])|^ERROR: Job failed|^Build step '.*' marked build as failure|^Exited with code|^script returned exit code [1-9]|^🚨|^npm (?:ERR!|error) (?:Test failed|code ELIFECYCLE)|^error Command failed with exit code|^make: \*\*\*|^BUILD FAILED|^Finished: FAILURE|^\[(?:INFO|ERROR)\] BUILD FAILURE|^error: could not compile|^FAILURE: Build failed",
)
"""The end of the command that failed: what stands before one is nearer to the reason than what stands behind."""

PASSED_ENDS = (r"^The command \".*\" exited with 0\.?$|^\[INFO\] BUILD SUCCESS|^BUILD SUCCESSFUL",)
"""The end of something that succeeded: errors before it were borne."""

BOILERPLATE = (
    r"^\[ERROR\]\s*(?:$|-> \[Help|\[Help \d|Re-run Maven|To see the full|For more information|After correcting|mvn |Please refer|$)",
    r"^(?:npm (?:ERR!|error))\s*(?:$|A complete log|This is probably not|There is likely|\s+\S+debug.*\.log|Make sure|You may|If you|Not compatible)",
    r"(?i)^(?:> )?(?:run with --(?:stacktrace|info|debug|scan)|get more help at|\* try:|\* get more|note: run with .?RUST_BACKTRACE|if you think|see .{0,200} for more|for more (?:information|help|details)|please (?:report|see|file|include|consult)|learn more|use --|you can (?:also )?)",
    r"^\s*[-=*_#~+.─━═]{3,}\s*$",
    r"^(?:\[\w+\] )?[-=*_#~]{10,}$",
)
"""What tools say after every failure."""

DETAILS = (
    r"^\s*(?:\^[\^~ -]*|~+\^?|\|.*|\d+ +\|.*|-->.*|= (?:note|help).*|\.{3})$|^\s*\d* *\|",
    r"^[+-](?:[^+-]|$)|^@@ |^(?:---|\+\+\+) \S|^\? ",
    r"^\s+\S",
    r"^(?:note|help|hint|info|symbol|location|reason|found|required|candidate|instead|because)\b.{0,3}",
    r"^\[ERROR\] {2,}\S|^npm (?:ERR!|error) ",
)
"""What belongs to the line above it."""

FRAMES = (
    r"^(?:\[\w+\] )?\s*(?:\[ERROR\]\s+)?at .*[(:].*\)?$|^\s*at \S+$|^\s*\.\.\. \d+ (?:more|common frames)",
    r"^\s+File \".*\", line \d+|^\s*#\d+ +(?:0x[0-9a-f]+ )?(?:in )?\S|^\s*# \S+:\d+:in |^\s+(?:from )?\S+:\d+:in |^\s*\d+: +(?:0x[0-9a-f]+ - )?\S+::|^\s+at \S+:\d+|^\t\S+\.go:\d+ \+0x|^goroutine \d+|^[\w./-]+\.[\w.()*\[\]{}]+\((?:\.{3}|[{}\[\]0-9a-fx?, .]*)\)$|^created by \S+|^\s+\S+\(.*\) \S+\.exs?:\d+",
)
"""Frames of a stack."""

NEEDLES = (
    r"error|fail|exception|panic|fatal|traceback|undefined|cannot|can't|could ?n[o']t|not (?:found|ok|exist|permitted|installed|recognized|supported|declared|run|used|known|a )"
    r"|denied|killed|abort|segmentation|assert|time-? ?d? ?out|no such|unable|invalid|refused|missing|undeclared|unresolved|unexpected|expected"
    r"|mismatch|out of memory|oom|no space|bad_alloc|quota|exit(?:ed)?(?: with)? (?:code|status)|exited with|\xe2\x9c[\x95\x96\x97\x98]|\xe2\x9d\x8c|\xe2\x97\x8f|\xc3\x97 "
    r"|caused by|deadlock|data race|corrupt|conflict|reset|unauthori|forbidden|too ?many|rate limit|offenses? |violation|went wrong|rejected|problem"
    r"|core dumped|sig(?:segv|abrt|bus|ill|fpe)|crash|sanitizer|definitely lost|uninitiali|unmet|unsatisf|unavailable|bad gateway|name resolution|nxdomain|unreachable|no route|hung up"
    r"|unknown|unsupported|incompatible|requires|depends on|must be|should be|would reformat|needs formatting|code style|but (?:was|got)|terminated|stopped|read-only|rspec |\be(?: {3}|: )"
    r"|no rule|illegal|unhandled|uncaught|interrupt|exceeded|overhead limit|stalled|cancell?ed|has been received|double free|smashing|broken|duplicate|multiple def|certificate|handshake|pkix|\beof\b|backoff|eai_again|enospc|econn|ehost|kernel|oops|call trace|bug: |suppressed:|wanted|actual:|diff in"
    r"|\.[a-z]{1,5}:(?:\[\d|\d+(?::\d+)?:? )|\.[a-z]{1,5}\(\d+,\d+\)"
)
"""Cheap to look for in megabytes: an error has one of these in one of its lines, in any case."""

STRONG_NEEDLES = (
    r"error:|error\[E\d|fatal:|panicked at|panic: |Caused by: |Exception in thread|Traceback \(most|assertion ?(?:error|failed)|assertion [`']|<<< (?:FAILURE|ERROR)!|--- FAIL: |^E   |Failure/Error"
    r"|undefined reference|Segmentation fault|out of memory|No space left|Failed to execute goal|What went wrong|Sanitizer|not ok |\*\*\* FAILED|npm (?:ERR!|error) code|^E: |could not resolve host"
    r"|exited with [1-9]|##\[error\]|ERROR: Job failed|marked build as failure|make: \*\*\*|: error "
)
"""For regions in which nearly every line has one of the others."""


class Judgement(NamedTuple):
    """What one line says.

    Attributes:
        score: from 0, nothing, to 10, the reason.
        kind: `head`, or what it is instead: `symptom`, `boilerplate`, `detail`, `frame`, `chatter`, `blank`, or `` for the rest.
        tool: who writes such lines, where that is known.
        anchor: it ends a command that failed; `passed`: one that succeeded.
        rule: which rule gave the score, so that many lines of one rule can be told from many reasons.
    """

    score: float
    kind: str = ""
    tool: str = ""
    anchor: bool = False
    passed: bool = False
    rule: int = -1


BLANK = Judgement(0, "blank")


def judge(text: str) -> Judgement:
    """What a clean line says; only its first `LONGEST_READ` characters count."""
    if not text or text.isspace():
        return BLANK
    groups, found = _rules()
    hits: dict[str, list[int]] = {}
    for index in found.Match(text[:LONGEST_READ]) or ():
        group, number = groups[index]
        hits.setdefault(group, []).append(number)
    anchor, passed = "anchor" in hits, "passed" in hits
    rule = min(hits.get("head", ()), key=lambda number: (-HEADS[number][0], number), default=-1)
    score, tool = HEADS[rule][:2] if rule >= 0 else (0.0, "")
    if "boilerplate" in hits:
        return Judgement(min(score, 1.0), "boilerplate", tool, anchor, passed)
    if "symptom" in hits and score <= 9:
        return Judgement(3.0, "symptom", tool, anchor, passed)
    if score < STRONG and ("harmless" in hits or "chatter" in hits):
        score = min(score, WEAK)
    if "frame" in hits and score < 9:
        return Judgement(min(score, 1.0), "frame", "", anchor, passed)
    if "chatter" in hits and score <= WEAK:
        return Judgement(score / 4, "chatter", "", anchor, passed)
    if score >= MEDIUM:
        return Judgement(score, "head", tool, anchor, passed, rule)
    return Judgement(score, "detail" if "detail" in hits else "", "", anchor, passed, rule)


@cache
def _rules() -> tuple[list[tuple[str, int]], re2.Set]:
    """All rules as one automaton, and which group and number each of its patterns has."""
    groups: list[tuple[str, int]] = []
    found = re2.Set.SearchSet(_options())
    patterns = {
        "head": [pattern for _, _, pattern in HEADS],
        "harmless": HARMLESS,
        "chatter": CHATTER,
        "symptom": SYMPTOMS,
        "anchor": ANCHORS,
        "passed": PASSED_ENDS,
        "boilerplate": BOILERPLATE,
        "detail": DETAILS,
        "frame": FRAMES,
    }
    for group, members in patterns.items():
        for number, pattern in enumerate(members):
            found.Add(pattern)
            groups.append((group, number))
    found.Compile()
    return groups, found


@cache
def needles() -> tuple[re2._Regexp, re2._Regexp]:
    """Find the first suspicious word of a line and the rest of the line, in bytes; the same for crowded places."""
    options = _options()
    options.encoding = re2.Options.Encoding.LATIN1
    patterns = (rf"(?im)(?:{words})[^\r\n]*" for words in (NEEDLES, STRONG_NEEDLES))
    every, strong = (re2.compile(pattern.encode("latin-1"), options) for pattern in patterns)
    return every, strong


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 32 << 20
    return options
