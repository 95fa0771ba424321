"""The forms of vnicctl's output: tables that fit a terminal, templates for scripts, a screen that is redrawn."""
