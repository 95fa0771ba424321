"""Claims and releases hugepages by the words of its input: holder.py LIMIT LEDGER."""

import sys
from pathlib import Path

from vnicd.kernel.limits.hugepages import Overcommit

claim = Overcommit(Path(sys.argv[1]), Path(sys.argv[2]))
for word in sys.stdin:
    getattr(claim, word.strip())()
    print("done", word.strip(), flush=True)
