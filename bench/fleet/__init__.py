"""Several servers and HAProxy in front of them, each in a network namespace of its own."""
