"""Fixtures of the component tests, which unit tests have too."""

from tests.framework.fixtures import claim, error_line, host, ledger, limit, runtime

__all__ = ["claim", "error_line", "host", "ledger", "limit", "runtime"]
