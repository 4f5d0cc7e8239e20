"""Containers of sound files read byte by byte: what a recording truly holds, cut or joined.

Nothing here decodes sound.
"""
