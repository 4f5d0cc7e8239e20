"""Accelerators of a training, one file each, which any method can be trained with.

An accelerator is a row of ``params/accelerators.py`` and a file of the same name in this package,
which ends with ``ACCELERATOR``. It is a callback of the trainer that may change weights between two
optimizer steps. No accelerator may import a method.
"""
