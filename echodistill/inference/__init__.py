"""Answer the test grid with a model, resumably, and answer questions about a single clip.

This package must not import reports, gates or stages.
"""
