"""Sources of clips and questions (one file each), the corpus store, and the drawing of mixes.

It must not import training, teachers or stages.
"""
