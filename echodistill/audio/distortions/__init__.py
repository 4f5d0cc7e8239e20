"""Changes that a recording may have met: rooms, codecs, lost packets, clipping.

Each is a pure function of a waveform and a seed.
"""
