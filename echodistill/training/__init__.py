"""Training of students: rows, the trainer, checkpoints, several processes.

It knows no method by its name and must not import Prefect, DVC or Great Expectations.
"""
