"""A request head becomes an answer: joins http and files, knows no engine."""
