"""Render a distortion: the same distortion, names and clip give the same bytes, in any order and
any process.
"""

from collections.abc import Callable

import numpy as np

from echodistill.audio.distortions.clipping import clipping
from echodistill.audio.distortions.codec import codec
from echodistill.audio.distortions.low_pass import low_pass
from echodistill.audio.distortions.packet_loss import packet_loss
from echodistill.audio.distortions.recipe import Distortion
from echodistill.audio.distortions.reverb import reverb
from echodistill.audio.distortions.time_stretch import time_stretch
from echodistill.audio.levels import Waveform
from echodistill.core.seeds import rng

RENDERERS: dict[str, Callable[[Waveform, float, np.random.Generator], Waveform]] = {
    "reverb": reverb,
    "codec": codec,
    "low_pass": low_pass,
    "clipping": clipping,
    "packet_loss": packet_loss,
    "time_stretch": time_stretch,
}


def render(distortion: Distortion, waveform: Waveform, *names: object) -> Waveform:
    """Return the distorted clip in float32, with a peak of at most 1. Its shape is (samples,) as
    the input's, except for time stretch.

    ``names`` name the random stream, e.g. the seed and the clip's id. The input is not changed.
    """
    return RENDERERS[distortion.kind](waveform, distortion.severity, rng(*names, distortion.name))
