"""The one exception for faults that a user can fix."""


class UserError(Exception):
    """A wrong input, parameter or environment. The message names the file, row or key, and the
    cure.

    The command line and the stages print it as one line, without a traceback, and exit with status
    1.
    """
