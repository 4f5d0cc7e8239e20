"""The published methods, one file each, and the mathematics that they share.

A method is a row of ``params/methods.py`` and a file of the same name in this package, whose
``METHOD`` is the method's class. The class follows ``base.Method`` and works on a ``Batch`` of
tensors and on models behind ``Forward``. A method must not import the trainer, nor anything that
reads or writes files.
"""
