"""The one exception for mistakes that a user can fix."""


class BenchmarkError(Exception):
    """A wrong name, value, file or folder: one line that says what, where and how to fix it.

    The command line prints the message without a traceback and exits with code 2.
    """


class OtherRunError(BenchmarkError):
    """A run folder holds another run, which stays as it is."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def brief(value: object) -> str:
    """A value in a message, as it is written in Python; a long one is cut."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return f"an {type(value).__name__} of too many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
