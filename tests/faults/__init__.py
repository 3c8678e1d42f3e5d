"""What is killed, cut off or forgotten must not lose a call: on a real broker, with real kills.

A worker of ours runs its steps on threads of one process, so there are no children of it to kill;
what is killed is one of several workers, or all of them, or the broker.
"""
