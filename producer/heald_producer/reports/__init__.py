"""Test reports: JUnit XML, TRX, NUnit, xUnit, TAP, `go test -json`, mocha and dart JSON, as one failure signal.

XML is read by the standard library's expat, which is kept up with the interpreter; wrappers that only add the refusals
of `xml_stream` have had no release for years. Nothing here is imported before a command has failed.
"""

from heald_producer.reports.message import headline, message_of, signal_of
from heald_producer.reports.reading import read_matching, read_reports
from heald_producer.reports.results import Failure, ReportSummary

__all__ = ["Failure", "ReportSummary", "headline", "message_of", "read_matching", "read_reports", "signal_of"]
