"""Logs of failed builds, one per tool and kind of failure, in the words of an imaginary shop.

Each is what a CI would have kept: much that went well, the reason, and what came after it.
"""

from __future__ import annotations

from typing import NamedTuple


class CiLog(NamedTuple):
    """A log, and what an excerpt of it must hold: the lines that tell why, in order.

    Attributes:
        tool: the tool that an excerpt should name; empty where several would do.
    """

    name: str
    tool: str
    failure: str
    reasons: tuple[str, ...]
    after: str = ""


def text_of(log: CiLog, lines: int = 3000) -> str:
    """The whole log: what went well before, the failure, and what came after."""
    return "\n".join([*well(lines), log.failure.strip("\n"), log.after.strip("\n")]) + "\n"


def well(lines: int) -> list[str]:
    """Lines of a build that goes well, some of which talk of errors all the same."""
    kinds = (
        "[INFO] Downloaded from central: https://repo.example/maven2/shop/cart/{0}.1/cart-{0}.1.jar (12 kB at 90 kB/s)",
        "  CC      drivers/till/error_{0}.o",
        "tests/test_errors_{0}.py::test_a_failed_payment_is_refused PASSED           [ {0}%]",
        "test cart::errors::fails_without_stock_{0} ... ok",
        "    ✓ shows an error when item {0} is missing (4 ms)",
        "npm warn deprecated left-basket@1.{0}.0: this package is unsupported",
        "Tests run: {0}, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s - in shop.ErrorPageTest",
        "Get:{0} http://archive.example/ubuntu jammy/main amd64 liberror-perl all 0.17029-1 [26.5 kB]",
        "gcc -Wall -Werror -fno-exceptions -c src/failover_{0}.c -o build/failover_{0}.o",
        "Step {0}/9000 : RUN echo nothing to see",
        "ok {0} - refuses an invalid basket",
        "[{0}/9000] Building CXX object CMakeFiles/errors.dir/error_{0}.cpp.o",
        "--- PASS: TestErrorIsWrapped{0} (0.00s)",
        "checking for error_at_line... yes",
        "{0} packets transmitted, {0} received, 0% packet loss",
    )
    return [kinds[number % len(kinds)].format(number) for number in range(1, lines + 1)]


LOGS = (
    CiLog(
        "gcc",
        "gcc",
        """
src/basket.c: In function 'add_item':
src/basket.c:41:17: error: 'struct basket' has no member named 'itemz'; did you mean 'items'?
   41 |     return basket->itemz + 1;
      |                 ^~~~~
      |                 items
make[2]: *** [src/CMakeFiles/basket.dir/build.make:76: src/basket.o] Error 1
make[1]: *** [CMakeFiles/Makefile2:98: all] Error 2
make: *** [Makefile:136: all] Error 2
""",
        ("src/basket.c:41:17: error: 'struct basket' has no member named 'itemz'", "return basket->itemz + 1;"),
        "##[error]Process completed with exit code 2.\nPost job cleanup.\nCleaning up orphan processes",
    ),
    CiLog(
        "linker",
        "ld",
        """
[ 97%] Linking CXX executable till
/usr/bin/ld: CMakeFiles/till.dir/main.cpp.o: in function `main':
main.cpp:(.text+0x1f): undefined reference to `shop::open_drawer(int)'
collect2: error: ld returned 1 exit status
make[2]: *** [CMakeFiles/till.dir/build.make:97: till] Error 1
""",
        ("undefined reference to `shop::open_drawer(int)'", "collect2: error: ld returned 1 exit status"),
    ),
    CiLog(
        "rustc",
        "rustc",
        """
   Compiling till v0.3.1 (/srv/ci/till)
error[E0308]: mismatched types
  --> src/drawer.rs:17:9
   |
16 | fn coins() -> u32 {
   |               --- expected `u32` because of return type
17 |         "none"
   |         ^^^^^^ expected `u32`, found `&str`

For more information about this error, try `rustc --explain E0308`.
error: could not compile `till` (lib) due to 1 previous error
""",
        ("error[E0308]: mismatched types", "--> src/drawer.rs:17:9", '17 |         "none"', "could not compile `till`"),
    ),
    CiLog(
        "cargo test",
        "",
        """
test drawer::closes ... ok
test drawer::counts_coins ... FAILED

failures:

---- drawer::counts_coins stdout ----
thread 'drawer::counts_coins' panicked at src/drawer.rs:52:9:
assertion `left == right` failed: coins got lost
  left: 12
 right: 13
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    drawer::counts_coins

test result: FAILED. 41 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s

error: test failed, to rerun pass `--lib`
""",
        ("panicked at src/drawer.rs:52:9", "coins got lost", "left: 12", "right: 13", "test result: FAILED. 41 passed"),
    ),
    CiLog(
        "go build",
        "go",
        """
# shop.example/till/drawer
drawer/open.go:23:12: undefined: unlock
drawer/open.go:31:2: declared and not used: key
""",
        ("drawer/open.go:23:12: undefined: unlock", "drawer/open.go:31:2: declared and not used: key"),
        'The command "go build ./..." exited with 1.\n\n\nDone. Your build exited with 1.',
    ),
    CiLog(
        "go test",
        "go",
        """
--- FAIL: TestDrawerOpens (0.01s)
    open_test.go:44: drawer stayed shut after 3 tries
    open_test.go:45:
        Error Trace:    open_test.go:45
        Error:          Not equal:
                        expected: "open"
                        actual  : "shut"
FAIL
FAIL	shop.example/till/drawer	0.312s
ok  	shop.example/till/errors	0.201s
FAIL
""",
        ("--- FAIL: TestDrawerOpens", "drawer stayed shut after 3 tries", 'expected: "open"', 'actual  : "shut"'),
        "make: *** [Makefile:12: test] Error 1",
    ),
    CiLog(
        "go panic",
        "go",
        """
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x4f2a10]

goroutine 7 [running]:
shop.example/till/drawer.(*Drawer).Open(...)
	/srv/ci/drawer/open.go:19
shop.example/till/drawer.TestOpen(0xc000126680)
	/srv/ci/drawer/open_test.go:12 +0x1d
exit status 2
""",
        ("panic: runtime error: invalid memory address or nil pointer dereference", "[signal SIGSEGV"),
    ),
    CiLog(
        "javac with maven",
        "maven",
        """
[INFO] -------------------------------------------------------------
[ERROR] COMPILATION ERROR :
[INFO] -------------------------------------------------------------
[ERROR] /srv/ci/shop/src/main/java/shop/Cart.java:[27,16] cannot find symbol
  symbol:   method totals()
  location: class shop.Cart
[INFO] 1 error
[INFO] -------------------------------------------------------------
[INFO] ------------------------------------------------------------------------
[INFO] BUILD FAILURE
[INFO] ------------------------------------------------------------------------
[INFO] Total time:  9.120 s
[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.11.0:compile (default-compile) on project shop: Compilation failure
[ERROR] /srv/ci/shop/src/main/java/shop/Cart.java:[27,16] cannot find symbol
[ERROR]   symbol:   method totals()
[ERROR]   location: class shop.Cart
[ERROR] -> [Help 1]
[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.
""",
        ("Cart.java:[27,16] cannot find symbol", "symbol:   method totals()", "Failed to execute goal"),
    ),
    CiLog(
        "surefire",
        "surefire",
        """
[ERROR] Tests run: 4, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.208 s <<< FAILURE! -- in shop.CartTest
[ERROR] shop.CartTest.sumsUp -- Time elapsed: 0.011 s <<< FAILURE!
org.opentest4j.AssertionFailedError: wrong sum ==> expected: <30> but was: <29>
	at org.junit.jupiter.api.AssertionFailureBuilder.build(AssertionFailureBuilder.java:151)
	at org.junit.jupiter.api.AssertEquals.failNotEqual(AssertEquals.java:197)
	at shop.CartTest.sumsUp(CartTest.java:33)
[INFO]
[INFO] Results:
[INFO]
[ERROR] Failures:
[ERROR]   CartTest.sumsUp:33 wrong sum ==> expected: <30> but was: <29>
[INFO]
[ERROR] Tests run: 4, Failures: 1, Errors: 0, Skipped: 0
[INFO] BUILD FAILURE
""",
        ("shop.CartTest.sumsUp", "wrong sum ==> expected: <30> but was: <29>", "Tests run: 4, Failures: 1"),
    ),
    CiLog(
        "gradle",
        "kotlinc",
        """
> Task :till:compileKotlin FAILED
e: file:///srv/ci/till/src/main/kotlin/Drawer.kt:14:9 Unresolved reference: unlok

FAILURE: Build failed with an exception.

* What went wrong:
Execution failed for task ':till:compileKotlin'.
> A failure occurred while executing org.jetbrains.kotlin.compilerRunner.GradleCompilerRunnerWithWorkers
   > Compilation error. See log for more details

* Try:
> Run with --stacktrace option to get the stack trace.
> Run with --scan to get full insights.

BUILD FAILED in 12s
3 actionable tasks: 3 executed
""",
        ("Drawer.kt:14:9 Unresolved reference: unlok", "Execution failed for task ':till:compileKotlin'."),
    ),
    CiLog(
        "pytest",
        "pytest",
        """
=================================== FAILURES ===================================
_______________________________ test_change_is_given ___________________________

    def test_change_is_given():
        drawer = Drawer(coins=[50, 20])
>       assert drawer.change(30) == [20, 10]
E       assert [20] == [20, 10]
E         Right contains one more item: 10

tests/test_drawer.py:18: AssertionError
=========================== short test summary info ============================
FAILED tests/test_drawer.py::test_change_is_given - assert [20] == [20, 10]
======================== 1 failed, 212 passed in 3.21s =========================
""",
        (
            ">       assert drawer.change(30) == [20, 10]",
            "E       assert [20] == [20, 10]",
            "tests/test_drawer.py:18: AssertionError",
            "FAILED tests/test_drawer.py::test_change_is_given",
            "1 failed, 212 passed",
        ),
        "Error: Process completed with exit code 1.",
    ),
    CiLog(
        "python traceback",
        "",
        """
Traceback (most recent call last):
  File "/srv/ci/manage.py", line 22, in <module>
    main()
  File "/srv/ci/manage.py", line 18, in main
    from shop.settings import tills
ImportError: cannot import name 'tills' from 'shop.settings' (/srv/ci/shop/settings.py)
""",
        ("Traceback (most recent call last):", "ImportError: cannot import name 'tills' from 'shop.settings'"),
        "ERROR: Job failed: exit code 1",
    ),
    CiLog(
        "unittest",
        "",
        """
======================================================================
FAIL: test_rounding (shop.tests.SumTest.test_rounding)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/srv/ci/shop/tests.py", line 9, in test_rounding
    self.assertEqual(total(0.1, 0.2), 0.3)
AssertionError: 0.30000000000000004 != 0.3

----------------------------------------------------------------------
Ran 310 tests in 1.204s

FAILED (failures=1)
""",
        ("FAIL: test_rounding", "AssertionError: 0.30000000000000004 != 0.3", "FAILED (failures=1)"),
    ),
    CiLog(
        "jest",
        "jest",
        """
FAIL src/basket.test.ts
  ● basket › adds items

    expect(received).toBe(expected) // Object.is equality

    Expected: 3
    Received: 2

      14 |   basket.add('pear');
      15 |   basket.add('plum');
    > 16 |   expect(basket.size).toBe(3);
         |                       ^
      17 | });

      at Object.<anonymous> (src/basket.test.ts:16:23)

Test Suites: 1 failed, 30 passed, 31 total
Tests:       1 failed, 244 passed, 245 total
""",
        ("● basket › adds items", "Expected: 3", "Received: 2", "> 16 |   expect(basket.size).toBe(3);"),
        "npm error Lifecycle script `test` failed with error:\nnpm error code 1\nnpm error path /work",
    ),
    CiLog(
        "mocha",
        "mocha",
        """
  118 passing (2s)
  1 failing

  1) basket
       drops items:

      AssertionError: expected 2 to equal 1
      + expected - actual

      -2
      +1

      at Context.<anonymous> (test/basket.js:31:24)
""",
        ("1 failing", "AssertionError: expected 2 to equal 1"),
        "npm ERR! Test failed.  See above for more details.",
    ),
    CiLog(
        "tsc",
        "tsc",
        """
src/basket.ts(12,5): error TS2322: Type 'string' is not assignable to type 'number'.
src/till.ts(4,22): error TS2307: Cannot find module './drawer' or its corresponding type declarations.
error Command failed with exit code 2.
""",
        ("src/basket.ts(12,5): error TS2322", "src/till.ts(4,22): error TS2307"),
    ),
    CiLog(
        "eslint",
        "eslint",
        """
/srv/ci/src/basket.js
  3:7   error    'coins' is assigned a value but never used  no-unused-vars
  9:14  warning  Unexpected console statement                no-console

✖ 2 problems (1 error, 1 warning)
""",
        ("'coins' is assigned a value but never used", "✖ 2 problems (1 error, 1 warning)"),
        "npm ERR! code ELIFECYCLE\nnpm ERR! errno 1",
    ),
    CiLog(
        "webpack",
        "webpack",
        """
ERROR in ./src/till.js 2:0-30
Module not found: Error: Can't resolve './drawr' in '/srv/ci/src'
 @ ./src/index.js 5:0-24 6:2-6

webpack 5.91.0 compiled with 1 error in 2310 ms
""",
        ("ERROR in ./src/till.js 2:0-30", "Module not found: Error: Can't resolve './drawr' in '/srv/ci/src'"),
    ),
    CiLog(
        "npm install",
        "npm",
        """
npm ERR! code ERESOLVE
npm ERR! ERESOLVE unable to resolve dependency tree
npm ERR!
npm ERR! While resolving: till@1.4.0
npm ERR! Found: basket@3.0.0
npm ERR! node_modules/basket
npm ERR!   basket@"^3.0.0" from the root project
npm ERR!
npm ERR! Could not resolve dependency:
npm ERR! peer basket@"^2.0.0" from coins@5.2.1
npm ERR! A complete log of this run can be found in: /root/.npm/_logs/2024-02-01T10_00_00_000Z-debug-0.log
""",
        ("npm ERR! code ERESOLVE", "npm ERR! Found: basket@3.0.0", 'npm ERR! peer basket@"^2.0.0" from coins@5.2.1'),
    ),
    CiLog(
        "rspec",
        "rspec",
        """
Failures:

  1) Drawer gives change for a note
     Failure/Error: expect(drawer.change(50)).to eq([20, 20, 10])

       expected: [20, 20, 10]
            got: [20, 20]

       (compared using ==)
     # ./spec/drawer_spec.rb:27:in `block (2 levels) in <top (required)>'

Finished in 0.84 seconds (files took 1.1 seconds to load)
97 examples, 1 failure

Failed examples:

rspec ./spec/drawer_spec.rb:24 # Drawer gives change for a note
""",
        (
            "1) Drawer gives change for a note",
            "Failure/Error: expect(drawer.change(50)).to eq([20, 20, 10])",
            "expected: [20, 20, 10]",
            "got: [20, 20]",
            "97 examples, 1 failure",
        ),
        'The command "bundle exec rspec" exited with 1.',
    ),
    CiLog(
        "minitest",
        "",
        """
  1) Failure:
DrawerTest#test_opens [test/drawer_test.rb:12]:
Expected: true
  Actual: nil

58 runs, 120 assertions, 1 failures, 0 errors, 0 skips
rake aborted!
Command failed with status (1)
Tasks: TOP => test
""",
        (
            "1) Failure:",
            "DrawerTest#test_opens [test/drawer_test.rb:12]:",
            "Expected: true",
            "58 runs, 120 assertions, 1 failures",
        ),
    ),
    CiLog(
        "rubocop",
        "",
        """
Inspecting 120 files
.....C......

Offenses:

lib/drawer.rb:14:3: C: Style/RedundantReturn: Redundant return detected.
  return coins
  ^^^^^^

120 files inspected, 1 offense detected, 1 offense autocorrectable
""",
        ("lib/drawer.rb:14:3: C: Style/RedundantReturn", "1 offense detected"),
    ),
    CiLog(
        "bundler",
        "bundler",
        """
Fetching gem metadata from https://gems.example/.........
Bundler could not find compatible versions for gem "coins":
  In Gemfile:
    coins (~> 2.0)

    drawer was resolved to 1.1.0, which depends on
      coins (>= 3)
""",
        ('Bundler could not find compatible versions for gem "coins":', "coins (~> 2.0)"),
    ),
    CiLog(
        "phpunit",
        "phpunit",
        """
There was 1 failure:

1) Shop\\DrawerTest::testChange
Failed asserting that 20 matches expected 30.

/srv/ci/tests/DrawerTest.php:19

FAILURES!
Tests: 88, Assertions: 240, Failures: 1.
""",
        (
            "1) Shop\\DrawerTest::testChange",
            "Failed asserting that 20 matches expected 30.",
            "Tests: 88, Assertions: 240, Failures: 1.",
        ),
    ),
    CiLog(
        "php",
        "php",
        """
PHP Fatal error:  Uncaught Error: Call to undefined function Shop\\unlock() in /srv/ci/src/Drawer.php:8
Stack trace:
#0 /srv/ci/bin/till.php(3): Shop\\Drawer->open()
#1 {main}
  thrown in /srv/ci/src/Drawer.php on line 8
""",
        ("Call to undefined function Shop\\unlock() in /srv/ci/src/Drawer.php:8",),
    ),
    CiLog(
        "composer",
        "composer",
        """
Your requirements could not be resolved to an installable set of packages.

  Problem 1
    - Root composer.json requires shop/coins ^9.1, found shop/coins[1.0, 2.0] but it does not match the constraint.
""",
        ("Your requirements could not be resolved", "Problem 1", "requires shop/coins ^9.1"),
    ),
    CiLog(
        "dotnet",
        "msbuild",
        """
/srv/ci/Till/Drawer.cs(15,20): error CS0103: The name 'unlock' does not exist in the current context [/srv/ci/Till/Till.csproj]

Build FAILED.

/srv/ci/Till/Drawer.cs(15,20): error CS0103: The name 'unlock' does not exist in the current context [/srv/ci/Till/Till.csproj]
    0 Warning(s)
    1 Error(s)

Time Elapsed 00:00:07.18
""",
        ("Drawer.cs(15,20): error CS0103: The name 'unlock' does not exist",),
    ),
    CiLog(
        "xunit on dotnet",
        "",
        """
[xUnit.net 00:00:01.21]     Till.Tests.DrawerTests.GivesChange [FAIL]
  Failed Till.Tests.DrawerTests.GivesChange [14 ms]
  Error Message:
   Assert.Equal() Failure
Expected: 30
Actual:   20
  Stack Trace:
     at Till.Tests.DrawerTests.GivesChange() in /srv/ci/Till.Tests/DrawerTests.cs:line 21

Failed!  - Failed:     1, Passed:    64, Skipped:     0, Total:    65, Duration: 1 s
""",
        ("Failed Till.Tests.DrawerTests.GivesChange", "Expected: 30", "Actual:   20", "Failed!  - Failed:     1"),
    ),
    CiLog(
        "gtest and ctest",
        "",
        """
[ RUN      ] Drawer.GivesChange
/srv/ci/tests/drawer_test.cc:33: Failure
Expected equality of these values:
  drawer.change(30)
    Which is: 20
  30
[  FAILED  ] Drawer.GivesChange (0 ms)

98% tests passed, 1 tests failed out of 52

The following tests FAILED:
	 17 - drawer_test (Failed)
Errors while running CTest
""",
        (
            "/srv/ci/tests/drawer_test.cc:33: Failure",
            "Expected equality of these values:",
            "[  FAILED  ] Drawer.GivesChange",
            "17 - drawer_test (Failed)",
        ),
    ),
    CiLog(
        "sanitizer",
        "sanitizer",
        """
=================================================================
==4127==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602000000018 at pc 0x55d2 bp 0x7ffd sp 0x7ffc
READ of size 4 at 0x602000000018 thread T0
    #0 0x55d2a1 in Drawer::coins() /srv/ci/src/drawer.cc:88:12
    #1 0x55d3b0 in main /srv/ci/src/main.cc:12:3

SUMMARY: AddressSanitizer: heap-buffer-overflow /srv/ci/src/drawer.cc:88:12 in Drawer::coins()
==4127==ABORTING
""",
        ("AddressSanitizer: heap-buffer-overflow on address", "drawer.cc:88:12", "SUMMARY: AddressSanitizer"),
    ),
    CiLog(
        "segmentation fault",
        "",
        """
./run-tills.sh: line 14: 30211 Segmentation fault      (core dumped) ./till --selftest
""",
        ("Segmentation fault      (core dumped) ./till --selftest",),
        "##[error]Process completed with exit code 139.",
    ),
    CiLog(
        "out of memory",
        "",
        """
[71324.118] Out of memory: Killed process 4711 (till) total-vm:8123456kB, anon-rss:7900000kB
Killed
""",
        ("Out of memory: Killed process 4711 (till)",),
        "make: *** [Makefile:7: test] Error 137",
    ),
    CiLog(
        "disk full",
        "",
        """
tar: ./basket/index.db: Cannot write: No space left on device
tar: Exiting with failure status due to previous errors
""",
        ("tar: ./basket/index.db: Cannot write: No space left on device",),
    ),
    CiLog(
        "pip",
        "pip",
        """
Collecting coins==9.9
ERROR: Could not find a version that satisfies the requirement coins==9.9 (from versions: 1.0, 1.1, 2.0)
ERROR: No matching distribution found for coins==9.9
""",
        (
            "ERROR: Could not find a version that satisfies the requirement coins==9.9",
            "ERROR: No matching distribution found",
        ),
    ),
    CiLog(
        "apt",
        "apt",
        """
Err:7 http://archive.example/ubuntu jammy/main amd64 libtill-dev amd64 1.2
  Temporary failure resolving 'archive.example'
E: Failed to fetch http://archive.example/ubuntu/pool/main/t/till/libtill-dev_1.2_amd64.deb  Temporary failure resolving 'archive.example'
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
""",
        ("Temporary failure resolving 'archive.example'", "E: Failed to fetch", "E: Unable to fetch some archives"),
    ),
    CiLog(
        "git",
        "git",
        """
Cloning into '/builds/shop/till'...
fatal: unable to access 'https://git.example/shop/till.git/': Could not resolve host: git.example
""",
        ("fatal: unable to access 'https://git.example/shop/till.git/': Could not resolve host: git.example",),
        "ERROR: Job failed: exit code 1",
    ),
    CiLog(
        "docker",
        "docker",
        """
#9 [4/6] RUN make install
#9 0.412 install: cannot create directory '/opt/till': Permission denied
#9 ERROR: process "/bin/sh -c make install" did not complete successfully: exit code: 2
------
 > [4/6] RUN make install:
0.412 install: cannot create directory '/opt/till': Permission denied
------
Dockerfile:11
--------------------
ERROR: failed to solve: process "/bin/sh -c make install" did not complete successfully: exit code: 2
""",
        ("install: cannot create directory '/opt/till': Permission denied", "failed to solve: process"),
    ),
    CiLog(
        "cmake",
        "cmake",
        """
CMake Error at CMakeLists.txt:14 (find_package):
  By not providing "FindCoins.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "Coins", but
  CMake did not find one.


-- Configuring incomplete, errors occurred!
""",
        (
            "CMake Error at CMakeLists.txt:14 (find_package):",
            'asked CMake to find a package configuration file provided by "Coins"',
        ),
    ),
    CiLog(
        "bazel",
        "",
        """
ERROR: /srv/ci/till/BUILD:7:11: Compiling till/drawer.cc failed: (Exit 1): gcc failed: error executing command /usr/bin/gcc -U_FORTIFY_SOURCE
till/drawer.cc:5:10: fatal error: coins/coins.h: No such file or directory
    5 | #include "coins/coins.h"
      |          ^~~~~~~~~~~~~~~
compilation terminated.
Target //till:drawer failed to build
FAILED: Build did NOT complete successfully
""",
        (
            "till/drawer.cc:5:10: fatal error: coins/coins.h: No such file or directory",
            "ERROR: /srv/ci/till/BUILD:7:11",
        ),
    ),
    CiLog(
        "ghc",
        "",
        """
src/Drawer.hs:12:15: error:
    • Couldn't match expected type ‘Int’ with actual type ‘[Char]’
    • In the first argument of ‘open’, namely ‘"key"’
   |
12 | drawer = open "key"
   |               ^^^^^
""",
        ("src/Drawer.hs:12:15: error:", "Couldn't match expected type ‘Int’ with actual type ‘[Char]’"),
    ),
    CiLog(
        "elixir",
        "elixir",
        """
  1) test gives change (Till.DrawerTest)
     test/drawer_test.exs:9
     Assertion with == failed
     code:  assert Drawer.change(30) == [20, 10]
     left:  [20]
     right: [20, 10]
     stacktrace:
       test/drawer_test.exs:11: (test)

Finished in 0.3 seconds
41 tests, 1 failure
""",
        ("1) test gives change (Till.DrawerTest)", "left:  [20]", "right: [20, 10]", "41 tests, 1 failure"),
    ),
    CiLog(
        "scala with sbt",
        "",
        """
[error] /srv/ci/src/main/scala/Drawer.scala:9:14: not found: value unlock
[error]     val key = unlock(coins)
[error]               ^
[error] one error found
[error] (Compile / compileIncremental) Compilation failed
[error] Total time: 14 s, completed Feb 1, 2024
""",
        ("Drawer.scala:9:14: not found: value unlock", "val key = unlock(coins)"),
    ),
    CiLog(
        "perl",
        "",
        """
t/drawer.t ..
1..3
ok 1 - opens
not ok 2 - gives change
#   Failed test 'gives change'
#   at t/drawer.t line 14.
#          got: '20'
#     expected: '30'
ok 3 - closes
# Looks like you failed 1 test of 3.
Dubious, test returned 1 (wstat 256, 0x100)
Failed 1/3 subtests
Result: FAIL
""",
        ("not ok 2 - gives change", "#   Failed test 'gives change'", "got: '20'", "expected: '30'"),
    ),
    CiLog(
        "terraform",
        "",
        """
╷
│ Error: Reference to undeclared resource
│
│   on till.tf line 7, in resource "shop_drawer" "main":
│    7:   key = shop_key.front.id
│
│ A managed resource "shop_key" "front" has not been declared in the root module.
╵
""",
        ("Error: Reference to undeclared resource", "on till.tf line 7"),
    ),
    CiLog(
        "ansible",
        "ansible",
        """
TASK [till : install the drawer] ***********************************************
fatal: [till-3]: FAILED! => {"changed": false, "msg": "No package matching 'drawer' is available"}

PLAY RECAP *********************************************************************
till-3                     : ok=4    changed=1    unreachable=0    failed=1    skipped=0
""",
        ("fatal: [till-3]: FAILED!", "No package matching 'drawer' is available"),
    ),
    CiLog(
        "time-out",
        "",
        """
counting coins...
counting coins...

No output has been received in the last 10m0s, this potentially indicates a stalled build or something wrong with the build itself.

The build has been terminated
""",
        ("No output has been received in the last 10m0s",),
    ),
    CiLog(
        "shell",
        "shell",
        """
+ ./open-drawer --all
./ci/build.sh: line 31: ./open-drawer: No such file or directory
""",
        ("./ci/build.sh: line 31: ./open-drawer: No such file or directory",),
        "##[error]Process completed with exit code 127.",
    ),
    CiLog(
        "black and flake8",
        "",
        """
would reformat /srv/ci/shop/drawer.py
Oh no! 💥 💔 💥
1 file would be reformatted, 120 files would be left unchanged.
shop/drawer.py:3:1: F401 'os' imported but unused
""",
        ("would reformat /srv/ci/shop/drawer.py", "shop/drawer.py:3:1: F401 'os' imported but unused"),
    ),
)
