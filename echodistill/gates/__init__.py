"""Expectations that an artifact must meet before a stage builds on it, and their runner.

It must not import stages.
"""
