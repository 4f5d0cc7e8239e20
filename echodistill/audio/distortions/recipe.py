"""Recipes of distortions that are not additive noise: a kind and its severity. ``render`` renders
them when they are read.
"""

from dataclasses import dataclass

from echodistill.core.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A kind of distortion."""

    display: str
    unit: str
    """Unit of the severities."""
    severities: tuple[float, ...]
    """Severities that a report shows, from mild to severe."""
    lowest: float
    highest: float
    """Range of the severities for which the kind is defined, both ends included."""


KINDS = {
    "reverb": Kind("Reverberation", "s", (0.2, 0.4, 0.7, 1.2), 0.2, 3.0),  # T60 in seconds.
    "codec": Kind("Opus codec", "kbit/s", (24.0, 12.0, 6.0), 6.0, 256.0),
    # Cut-off frequency.
    "low_pass": Kind("Low-pass", "Hz", (4000.0, 2000.0, 1000.0), 100.0, 8000.0),
    "clipping": Kind("Clipping", "%", (1.0, 5.0, 20.0), 0.0, 90.0),  # Share of the samples.
    # Share of the packets.
    "packet_loss": Kind("Packet loss", "%", (5.0, 10.0, 20.0, 40.0), 0.0, 80.0),
    # Clips are only shortened, because a model may have no room for a longer clip.
    "time_stretch": Kind("Time stretch", "× duration", (0.85, 0.7, 0.55), 0.4, 2.5),
}


@dataclass(frozen=True)
class Distortion:
    """A distortion of any clip. Raise ``UserError`` for an unknown kind or a severity outside its
    range.
    """

    kind: str
    """One of ``KINDS``."""
    severity: float
    """Severity in the unit of its kind."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(
                f"no distortion is called {self.kind!r}: choose from {', '.join(KINDS)}"
            )
        kind = KINDS[self.kind]
        if not kind.lowest <= self.severity <= kind.highest:
            raise UserError(
                f"{self.kind}: {self.severity:g} {kind.unit} is not between {kind.lowest:g} and"
                f" {kind.highest:g} {kind.unit}"
            )

    @property
    def name(self) -> str:
        """Return the name, such as ``reverb@0.7``."""
        return f"{self.kind}@{self.severity:g}"

    @property
    def display(self) -> str:
        """Return the name for reports, such as ``Reverberation 0.7 s``."""
        kind = KINDS[self.kind]
        return f"{kind.display} {self.severity:g} {kind.unit}"


def from_name(name: str) -> Distortion:
    """Return the distortion called ``name``, e.g. ``reverb@0.7``. Raise ``UserError`` when there is
    none.
    """
    kind, _, severity = name.partition("@")
    try:
        return Distortion(kind, float(severity))
    except ValueError as error:
        raise UserError(
            f"{name!r} names no distortion: write its kind, @ and a number, such as reverb@0.7"
        ) from error


def defaults() -> list[Distortion]:
    """Return every kind at each of its severities, from mild to severe."""
    return [
        Distortion(name, severity) for name, kind in KINDS.items() for severity in kind.severities
    ]
