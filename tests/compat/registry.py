"""The rows of the matrix, in their order."""

from __future__ import annotations

from tests.compat.families.apache import APACHE
from tests.compat.families.nginx import NGINX
from tests.compat.families.node import NODE
from tests.compat.program import Program

PROGRAMS: list[Program] = [*NODE, *APACHE, *NGINX]
