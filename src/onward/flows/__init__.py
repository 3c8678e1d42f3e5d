"""Flows as values: what they are made of, and what is done with them.

`nodes` holds the data. `values`, `lower` and `render` are functions that match on it, and `flow`,
`define` and `combinators` are what people write.
"""
