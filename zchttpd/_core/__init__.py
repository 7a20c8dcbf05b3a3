"""The compiled core. Each module is one layer; see docs/architecture.md."""
