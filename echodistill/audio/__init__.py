"""Waveforms as arrays: levels, mixing, noises, distortions, denoisers; ``files.py`` reads them from
disk.

It knows no model, no data set and no stage.
"""
