"""From a path to an opened file: containment beneath the root, facts of a version, a bounded table."""
