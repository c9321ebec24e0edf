"""The numbers of `Settings`: limits, waits and how long things are kept, each with a default that works."""

from __future__ import annotations

import msgspec

DAY = 86_400.0


class Limits(msgspec.Struct, frozen=True):
    """Counts and sizes beyond which heald waits, warns or gives up.

    Attributes:
        intake_reports: reports that one intake batch takes off the inbox, at most.
        intake_bytes: bytes that one intake batch takes off the inbox, at most.
        open_nudges: jobs under way above which intake pauses; the inbox is the backlog then.
        max_lost_repairs: how often a repair may die with its worker before the attempt counts as failed.
        max_lineage: generations of runs caused by repairs that are healed; later ones are escalated at once.
        notice_tries: deliveries of an escalation or exhaustion notice, at most.
        inbox_warning: reports waiting in the inbox above which heald warns.
        inbox_refusal: reports waiting in the inbox above which `heald push` refuses to add more.
        dead_letters: dead letters kept, at most; the oldest go first.
        dead_letter_bytes: bytes of dead letters kept, at most; the oldest go first.
        corrections: corrections of failure classes kept, at most; beyond that `heald correct` refuses more.
    """

    intake_reports: int = 256
    intake_bytes: int = 4 * 1024 * 1024
    open_nudges: int = 10_000
    max_lost_repairs: int = 2
    max_lineage: int = 2
    notice_tries: int = 5
    inbox_warning: int = 100_000
    inbox_refusal: int = 1_000_000
    dead_letters: int = 10_000
    dead_letter_bytes: int = 64 * 1024 * 1024
    corrections: int = 1000


class Timing(msgspec.Struct, frozen=True):
    """Waits of a running service, in seconds.

    Attributes:
        resend_first: a decision that nobody took is sent again after this long.
        resend_most: re-sends back off, doubling, up to this.
        lease: a repair's claim lasts this long unless it is renewed.
        renewal: how often a claim is renewed.
        stop_grace: how long a stopping worker lets the repair in hand finish.
        retry_first: wait before a flaky test is retried; other repairs begin at once.
        retry_most: that wait doubles with every retry of a run, up to this.
        transient_first: wait before what may pass by itself is retried: outages last minutes, not seconds.
        transient_most: that wait doubles with every such retry of a run, up to this.
        incident_window: a report of a cause whose run has ended unhealed is escalated at once for this long.
        notice_first: wait before a notice is tried again.
        notice_most: that wait doubles with every try, up to this.
    """

    resend_first: float = 5.0
    resend_most: float = 30.0
    lease: float = 30.0
    renewal: float = 10.0
    stop_grace: float = 30.0
    retry_first: float = 1.0
    retry_most: float = 60.0
    transient_first: float = 30.0
    transient_most: float = 600.0
    incident_window: float = 1800.0
    notice_first: float = 2.0
    notice_most: float = 60.0


class Retention(msgspec.Struct, frozen=True):
    """How long things are kept, in seconds.

    Attributes:
        events: entries of the stream of transitions.
        recoveries: entries of the stream of completed recoveries.
        tombstones: the memory that a run has ended, which makes a late re-send a duplicate.
        regression_window: how far back a regression check looks.
        flaky: how long a test counts as flaky after a run has shown it.
        budgets: how long what was done about a commit's job counts into its budget, from the last time on.
        spool: reports that a runner could not deliver; older ones are not accepted any more.
    """

    events: float = 7 * DAY
    recoveries: float = 30 * DAY
    tombstones: float = 30 * DAY
    regression_window: float = 30 * DAY
    flaky: float = 30 * DAY
    budgets: float = DAY
    spool: float = 7 * DAY
