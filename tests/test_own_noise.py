"""A kind of noise that the package does not know is drawn and mixed like its own; it is an example
of ``docs/extending.md``.
"""

from pathlib import Path

import numpy as np
import pytest

from echodistill.audio.kinds import KINDS
from echodistill.audio.levels import SAMPLE_RATE, snr_db
from echodistill.audio.mixing import draw
from echodistill.audio.noises import PROCEDURAL, Samples
from echodistill.audio.recordings import NoiseLibrary
from echodistill.params import mixes
from echodistill.params.whole import load_params
from tests.conftest import tone

ROOT = Path(__file__).parents[1]


def rain(stream: np.random.Generator, samples: int) -> Samples:
    """Drops: short decaying clicks at random times over a soft hiss."""
    total = 0.05 * stream.standard_normal(samples)
    decay = np.exp(-np.arange(80) / 16)
    for start in stream.integers(0, samples, max(1, samples * 200 // SAMPLE_RATE)):
        drop = stream.uniform(0.2, 1.0) * stream.standard_normal(80) * decay
        total[start : start + 80] += drop[: samples - start]
    return total


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two rows of a kind of noise."""
    monkeypatch.setattr(mixes, "KINDS", (*KINDS, "rain"))
    monkeypatch.setitem(PROCEDURAL, "rain", rain)


def test_a_kind_of_a_user_is_mixed_at_its_snr() -> None:
    clean = tone("low", 1, 0.4)
    library = NoiseLibrary(lambda _clip_id: clean)
    mix = draw(1, "a", "train", "rain", -5.0, 0, ())
    rendered = library.render(mix, clean)
    added = rendered.noisy.astype(np.float64) - rendered.clean
    assert snr_db(rendered.clean, added) == pytest.approx(-5.0, abs=0.01)
    assert np.array_equal(library.render(mix, clean).noisy, rendered.noisy)
    other = draw(1, "a", "train", "rain", -5.0, 1, ())
    assert not np.array_equal(library.render(other, clean).noisy, rendered.noisy)


def test_a_kind_of_a_user_may_be_named_in_the_parameters() -> None:
    raw = load_params(ROOT / "params.yaml").mixes.model_dump()
    found = mixes.MixesParams.model_validate(raw | {"kinds": (*raw["kinds"], "rain")})
    assert "rain" in found.seen
