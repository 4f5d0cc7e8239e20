"""The task families of the built-in source: what is spoken, and what is asked about it.

Each module draws one family from a random stream. Nothing here makes sound or reads files.
"""
