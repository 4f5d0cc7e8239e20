"""Waveforms as arrays: levels, mixing, noises, distortions, denoisers; ``files.py`` reads them from
disk.

This package does not depend on models, data sets or stages.
"""
