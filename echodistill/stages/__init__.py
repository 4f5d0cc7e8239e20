"""One thin module for each stage of the graphs: arguments in, files out.

Nothing imports a stage; ``entry.py`` starts them.
"""
