"""A card that takes everything and copies nothing, on a real processor."""
