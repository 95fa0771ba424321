"""One end of the links of a port."""
