"""Train students: rows, the trainer, checkpoints, several processes.

This package names no method and must not import Prefect, DVC or Great Expectations.
"""
