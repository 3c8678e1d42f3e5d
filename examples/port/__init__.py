"""A Celery app that is ported one task at a time; each step is a system that runs."""
