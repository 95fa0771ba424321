"""A differential tester: random programs of socket calls over the kernel's TCP and over direct connections."""
