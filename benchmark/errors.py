"""The one exception for mistakes that a user can mend."""


class BenchmarkError(Exception):
    """A wrong name, value, file or folder: one line that says what, where and how to mend it.

    The command line prints the message without a traceback and exits with code 2.
    """


def first_line(error: Exception) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
