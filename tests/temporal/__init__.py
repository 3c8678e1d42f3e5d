"""Temporal's own traps, each a test, beside what the suite asks of any backend."""
