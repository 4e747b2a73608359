"""What was skipped was not tested: `make e2e` has installed everything, so there a skip is a failure (`F2FCAM_E2E_STRICT=1`).

`F2FCAM_E2E_MAY_SKIP` names tests that may be skipped nevertheless: parts of their names, with commas between.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

STRICT = os.environ.get("F2FCAM_E2E_STRICT") == "1"
SHARED = os.environ.get("F2FCAM_E2E_SHARED") == "1"
"""Others may use the machine: what they make too slow is reported, not failed."""
MAY_SKIP = [part for part in os.environ.get("F2FCAM_E2E_MAY_SKIP", "").split(",") if part]


class Strict:
    """A plugin for all tests of the run, those of other folders too."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        expected = hasattr(report, "wasxfail") or any(part in item.nodeid for part in MAY_SKIP)
        if report.skipped and not expected:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            report.outcome, report.longrepr = "failed", f"Not to be skipped here (F2FCAM_E2E_STRICT): {reason}"
        return report


def pytest_configure(config: pytest.Config) -> None:
    if STRICT:
        config.pluginmanager.register(Strict(), "strict")
