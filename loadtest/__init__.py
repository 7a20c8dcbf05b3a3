"""What `locust -f loadtest/` is made of.

Of a folder locust loads each file whose name begins with no underscore: the locustfile alone. So the others
are loaded once, as parts of this package, and may hold the state of a run.
"""
