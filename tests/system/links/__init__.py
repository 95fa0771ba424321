"""The life of links, also of many."""
