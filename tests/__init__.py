"""Tests of vnicd: unit (no root), integration (in namespaces), bench; support is what they share."""
