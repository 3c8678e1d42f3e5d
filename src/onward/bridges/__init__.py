"""Backends made of others, and systems that exist with Onward in their middle."""
