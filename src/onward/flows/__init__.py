"""Flows as values.

`nodes` holds the data. `values`, `lower`, `fits` and `render` are functions that match on it.
`flow`, `define` and `combinators` are what people write.
"""
