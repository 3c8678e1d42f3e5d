"""What the suite does not ask of Hatchet: its names, its DAGs, its workers, and the double."""
