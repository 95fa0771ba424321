"""Runs unittest's tests and writes a line of JSON for each: `collect.py REPORT WHAT... [--only TESTS]`.

WHAT is a module, MODULE:NAME for a list of modules, or a folder whose tests are discovered.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import unittest
from collections.abc import Iterator
from typing import Any, TextIO

report, *words = sys.argv[1:]
only = set(words.pop().split(",")) if "--only" in words else set()
words = [word for word in words if word != "--only"]


TEST_TIMEOUT_S = 20


def too_late(number: int, frame: object) -> None:
    raise TimeoutError(f"not over after {TEST_TIMEOUT_S} s")


signal.signal(signal.SIGALRM, too_late)


class Result(unittest.TestResult):
    """Writes what became of each test as soon as it is known: a run that hangs has told what came before."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file
        self.outcome = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcome = "passed"
        signal.alarm(TEST_TIMEOUT_S)

    def stopTest(self, test: unittest.TestCase) -> None:
        signal.alarm(0)
        super().stopTest(test)
        self.file.write(json.dumps([test.id(), self.outcome]) + "\n")
        self.file.flush()

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.outcome = "error"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.outcome = "failure"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.outcome = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any, todo: object = None) -> None:
        self.outcome = "skipped"

    def addUnexpectedSuccess(self, test: unittest.TestCase, todo: object = None) -> None:
        self.outcome = "passed"

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.outcome = "failure"


def loaded(word: str) -> unittest.TestSuite:
    loader = unittest.defaultTestLoader
    if "/" in word:
        return loader.discover(word, top_level_dir=word.rpartition("/")[0])
    module, _, name = word.partition(":")
    names = getattr(importlib.import_module(module), name) if name else [module]
    return loader.loadTestsFromNames(names)


def tests_of(suite: Any) -> Iterator[unittest.TestCase]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from tests_of(each)
        elif not only or each.id() in only:
            yield each


with open(report, "w") as file:
    unittest.TestSuite(test for word in words for test in tests_of(loaded(word))).run(Result(file))
    file.write('["", "end"]\n')
