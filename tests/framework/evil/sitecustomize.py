"""Puts a hostile thread into the partition daemon whose name begins with "evil": with this folder in PYTHONPATH."""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.startswith("evil") for word in sys.orig_argv[-1:]):
    sys.path.append(os.environ["EVIL_TREE"])
    from tests.framework.evil import daemon

    daemon.corrupt(sys.orig_argv[-1])
