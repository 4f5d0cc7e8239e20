"""Packet loss on a network, in bursts; lost packets become silence."""

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.levels import SAMPLE_RATE, Waveform

PACKET = SAMPLE_RATE // 50  # Samples of a packet of 20 ms, the length used in calls.
MEAN_BURST = 3.0  # Mean number of packets lost in a row.


def packet_loss(waveform: Waveform, percent: float, stream: np.random.Generator) -> Waveform:
    """Silence packets of 20 ms, ``percent`` of them on average. The shape is (samples,).

    A clip with sound always keeps some of it: losses that would remove all sound are drawn again.
    """
    packets = -(-waveform.size // PACKET)
    while True:
        lost = np.repeat(losses(stream, packets, percent / 100.0), PACKET)[: waveform.size]
        received = np.where(lost, np.float32(0.0), waveform).astype(np.float32)
        if received.any() or not waveform.any():
            return received


def losses(stream: np.random.Generator, packets: int, share: float) -> NDArray[np.bool_]:
    """Return which packets are lost, shape (packets,) bool: a two-state Markov chain (Gilbert 1960)
    that starts in its stationary state.

    The lengths of bursts are geometric with mean ``1 / recover``. The chain is in the lossy state
    for ``fail / (fail + recover)`` of its time, so the share determines ``fail``. Since ``fail`` is
    a probability, a large share lengthens the bursts instead.
    """
    if share <= 0.0:
        return np.zeros(packets, np.bool_)
    recover = min(1.0 / MEAN_BURST, (1.0 - share) / share)
    fail = recover * share / (1.0 - share)
    chances = stream.random(packets)
    lost = np.zeros(packets, np.bool_)
    state = bool(chances[0] < share) if packets else False
    for packet in range(packets):
        if packet:
            state = bool(chances[packet] >= recover) if state else bool(chances[packet] < fail)
        lost[packet] = state
    return lost
