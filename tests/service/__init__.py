"""Tests of vnicd as a service: installed in a container with a systemd of its own."""
