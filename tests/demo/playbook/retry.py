"""Retry: the same commit, checked again in a fresh clone."""

from checkout import checkout, tell

with checkout() as work:
    work.git("checkout", "--quiet", "--detach", work.commit)
    work.check()
    tell(f"passed when repeated on {work.commit[:7]}")
