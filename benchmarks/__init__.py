"""Benchmarks of Onward beside plain code and beside other libraries."""
