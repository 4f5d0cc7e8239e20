"""Write a number of things, in the singular for one."""


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return text such as ``1 clip`` or ``2 clips``; ``noun`` is the singular.

    ``verb`` has the singular and the plural of a verb that follows, such as ``is/are``.
    """
    one = number == 1
    first, _, second = verb.partition("/")
    return f"{number} {noun}{'' if one else 's'}" + (f" {first if one else second}" if verb else "")
