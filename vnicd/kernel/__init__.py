"""Privileged set-up of kernel objects: namespaces, TAPs, addresses; everything here yields fds or facts."""
