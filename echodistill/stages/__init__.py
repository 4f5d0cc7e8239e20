"""One short module for each stage of the graphs, which takes arguments and writes files.

Nothing imports a stage; ``entry.py`` starts them.
"""
