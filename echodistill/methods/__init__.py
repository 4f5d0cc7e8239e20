"""The published methods, one file each, and the mathematics that they share.

A method is a row of ``params/methods.py`` and a file of the same name here, whose ``METHOD`` is its
class. It follows ``base.Method`` and sees a ``Batch`` of tensors and models behind ``Forward``; it
must not import the trainer, nor anything that reads or writes files.
"""
