"""What an artifact must be before a stage builds on it, and the runner of these expectations.

It must not import stages.
"""
