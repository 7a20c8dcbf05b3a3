"""Servers for Python programs: `zchttpd.serve`. What of it is public, `zchttpd` itself has."""
