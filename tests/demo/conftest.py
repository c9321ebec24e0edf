"""The demo's repository has a suite of its own, which fails on purpose; it is not part of this one."""

collect_ignore = ["project"]
