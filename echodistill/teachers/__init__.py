"""The inputs of a teacher (views), its answers (targets), and the caches of its answers.

It must not import training or stages.
"""
