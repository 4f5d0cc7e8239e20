"""Sources of clips and questions (one file each), the corpus store, and the drawing of mixes.

This package must not import training, teachers or stages.
"""
