"""Code that every package uses: errors, rows between stages, random streams, atomic files,
progress.

It imports nothing from the rest of the package.
"""
