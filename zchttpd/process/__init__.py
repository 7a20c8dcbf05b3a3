"""Processes and the machine that they run on: supervisor, worker, sockets, privileges, limits."""
