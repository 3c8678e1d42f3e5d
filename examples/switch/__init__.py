"""A running system that changes its engine, by and by, while its workers are killed."""
