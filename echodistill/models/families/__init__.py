"""The supported architectures of audio language models: one file each, and the registry of them.

A family implements ``models.base.AudioFamily``. Nothing but the registry, and ``nano``, which
builds a model of one, imports a family.
"""
