"""What a teacher receives (views), what it answers (targets), and the caches of its answers.

It must not import training or stages.
"""
