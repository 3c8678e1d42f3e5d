"""Calls that change from one engine to another while they are under way."""
