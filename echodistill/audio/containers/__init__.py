"""Containers of sound files, read byte by byte to find out what a recording truly holds, and
whether it is truncated or several were joined.

Nothing here decodes sound.
"""
