"""vnicd: virtual NICs for network namespaces over shared hugepage rings."""

__version__ = "0.2.0"
