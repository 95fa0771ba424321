"""Announcements, programs and rules as data."""
