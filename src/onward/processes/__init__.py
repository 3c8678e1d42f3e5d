"""Child processes that run isolated steps, as their worker sees them.

A child is a fresh interpreter: nothing is forked and nothing of the user's is pickled. It imports
the modules that define the tasks, and gets arguments and gives outcomes as the bytes of the wire.
`onward.child` is what runs in it.
"""
