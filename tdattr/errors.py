"""The exceptions that reach the user as a sentence instead of a traceback, and what to quote of others."""


class UserError(Exception):
    """Something the user can mend; the message is one sentence that names the override or command that mends it."""


class Unavailable(UserError):
    """Something optional that this machine or dataset lacks: weights, groups."""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
