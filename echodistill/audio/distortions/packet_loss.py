"""Packet loss on a network, in bursts; what is lost is silence."""

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.levels import SAMPLE_RATE, Waveform

PACKET = SAMPLE_RATE // 50  # samples: 20 ms, what calls send
MEAN_BURST = 3.0  # packets lost in a row


def packet_loss(waveform: Waveform, percent: float, stream: np.random.Generator) -> Waveform:
    """Silences packets of 20 ms, ``percent`` of them on average. Shape (samples,).

    Something of a clip that sounds is always left: losses that would take all of it are drawn
    again.
    """
    packets = -(-waveform.size // PACKET)
    while True:
        lost = np.repeat(losses(stream, packets, percent / 100.0), PACKET)[: waveform.size]
        received = np.where(lost, np.float32(0.0), waveform).astype(np.float32)
        if received.any() or not waveform.any():
            return received


def losses(stream: np.random.Generator, packets: int, share: float) -> NDArray[np.bool_]:
    """Which packets are lost, shape (packets,): a two-state Markov chain (Gilbert 1960) that starts
    in its stationary state.

    Bursts are geometric with mean ``1 / recover``. The chain spends ``fail / (fail + recover)`` of
    its time in the lossy state, so the share fixes ``fail``. At most one packet of one may fail:
    for a large share bursts grow instead.
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
