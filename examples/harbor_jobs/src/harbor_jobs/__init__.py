"""Runs Harbor tasks as Celery jobs: N runs of a task, each on some worker, each with one published result."""
