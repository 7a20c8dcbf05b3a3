"""From a path to bytes: containment beneath the root, versions, entries, encodings, listings."""
