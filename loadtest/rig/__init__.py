"""What `locust -f loadtest/` is made of: a generated site, users that check every byte, readings, a report.

Every module also loads on its own under its bare name, because locust imports every file it finds here; state
therefore lives only in `rig.session`, imported by its full name.
"""
