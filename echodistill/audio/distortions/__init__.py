"""Changes that a recording may have undergone: rooms, codecs, lost packets, clipping.

Each is a pure function of a waveform and a random stream.
"""
