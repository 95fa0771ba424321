"""The compiled modules, made of cext, with their stubs."""
