"""The rows of the matrix, in their order."""

from __future__ import annotations

from tests.compat.families.apache import APACHE
from tests.compat.families.compiled import COMPILED
from tests.compat.families.java import JAVA
from tests.compat.families.messaging import MESSAGING
from tests.compat.families.nginx import NGINX
from tests.compat.families.node import NODE
from tests.compat.families.plumbing import PLUMBING
from tests.compat.families.proxies import PROXIES
from tests.compat.families.python_web import PYTHON_WEB
from tests.compat.families.stores import STORES
from tests.compat.families.transfer import TRANSFER
from tests.compat.program import Program

PROGRAMS: list[Program] = [
    *(*NODE, *PYTHON_WEB, *APACHE, *NGINX, *PROXIES, *JAVA, *STORES),
    *(*TRANSFER, *PLUMBING, *MESSAGING, *COMPILED),
]
