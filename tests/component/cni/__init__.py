"""The plugin for containers, with a hosting daemon that only pretends."""
