"""No call is lost when workers, brokers or networks fail: on real servers, with real kills.

A worker of ours runs its steps on threads of one process, so there are no children of it to kill;
what is killed is one of several workers, or all of them, or the broker.
"""
