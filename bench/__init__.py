"""zchttpd beside its peers, memory of silent clients, sweeps of options, and a guest with a real card."""
