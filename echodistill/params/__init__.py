"""The sections of ``params.yaml`` as frozen, validated values: one module for each section, and
``whole`` for all of them.

A stage imports the modules of its own sections alone, so that a new parameter in another section
does not make it run again. Of the rest of the package only ``core`` and the names of noises are
imported here.
"""
