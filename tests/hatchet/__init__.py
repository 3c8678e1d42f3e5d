"""Tests of what is special to Hatchet: its names, its DAGs, its workers, and the test double."""
