"""The one exception that reaches the user as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend; the message is one sentence that names the override or command that mends it."""


class Unavailable(UserError):
    """Something optional that this machine or dataset lacks: weights, groups."""
