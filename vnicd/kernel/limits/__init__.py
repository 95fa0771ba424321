"""Limits of the machine that are raised while a fabric runs."""
