"""A partition daemon that was taken over: it registers as an honest one does, and then does what a test tells it.

daemon.py has its deeds, ends.py its links. neighbour.py and flood.py are programs of their own: what its user can do to
other processes, and frames from who is root in a partition.
"""
