"""Onward behind the web: Django's tasks on its engines."""
