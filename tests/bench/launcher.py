"""Start commands in turn and tell each one's wall time and peak memory; run it with `python -I -S`.

A program's peak memory, as the system counts it, is at least that of the process that started it: hence this small one.
It reads {"rounds": n, "commands": [[...]...]} and answers a list per command of [seconds, peak KiB].
"""

import json
import os
import sys
import time

order = json.load(sys.stdin)
results = [[] for _ in order["commands"]]
null = os.open(os.devnull, os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
for _ in range(order["rounds"]):
    for argv, samples in zip(order["commands"], results, strict=True):
        begun = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        samples.append([time.perf_counter() - begun, used.ru_maxrss // (1024 if sys.platform == "darwin" else 1)])
        if status:
            sys.exit(f"{argv} ended with {os.waitstatus_to_exitcode(status)}")
json.dump(results, sys.stdout)
