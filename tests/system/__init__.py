"""Tests of whole fabrics: real daemons, real interfaces, in namespaces that the tests make."""
