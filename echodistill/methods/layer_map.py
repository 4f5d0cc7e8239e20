"""Match the layers of a student with those of a teacher that may have more or fewer. Pure.

Layers are numbered from 1, and the last one is that below the final norm.
"""


def layer_map(student_layers: int, teacher_layers: int, step: int = 1) -> dict[int, int]:
    """Return the teacher's layer for each matched layer of the student: the one at the same share
    of the depth, ``round(i·L_T / L_S)``, at least 1, halves upwards [ours].

    One layer of the student in ``step`` is matched, from the last one downwards, so that the last
    layers are always matched with each other. Source, by a digest, check it: arXiv 2509.18579,
    whose variant "skip" matches one layer in seven.
    """
    return {
        layer: max(1, (2 * layer * teacher_layers + student_layers) // (2 * student_layers))
        for layer in matched_layers(student_layers, step)
    }


def matched_layers(layers: int, step: int) -> list[int]:
    """Return the matched layers, one in ``step`` from the last one downwards, sorted."""
    return sorted(range(layers, 0, -step))
