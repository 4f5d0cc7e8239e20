"""Answers of models to the test grid, resumable, and to a single clip.

It must not import reports, gates or stages.
"""
