"""``params.yaml`` as frozen, validated values: one module for each section, and ``whole`` for all.

A stage is made of the modules of its own sections alone, so that a new parameter elsewhere runs
nothing again. Nothing here imports from the rest of the package but the names of noises.
"""
