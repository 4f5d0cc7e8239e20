"""The supported architectures of audio language models, one file each, and their registry.

A family implements ``models.base.AudioFamily``. Only the registry imports families, and ``nano``,
which builds a model of one.
"""
