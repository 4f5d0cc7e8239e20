"""Recipes of noisy clips: which noise at which level for which clip, and how they are checked.

A recipe is a row that is rendered when it is read. This package imports no training code.
"""
