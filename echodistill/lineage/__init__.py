"""Trace what a model was made from: ``dvc.lock``, hashes of clips, and checks that nothing has
changed.

This package must not import stages.
"""
