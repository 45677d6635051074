"""The one error that a user sees: a line that says what is wrong and what would be right."""


class UserError(Exception):
    """Bad input. A command prints the message on one line and exits with status 2."""

    def __init__(self, message: str) -> None:
        """Line breaks and control characters, which what the message quotes may hold, become spaces. What a file's name
        holds that is no Unicode stays, for whoever prints it to escape."""
        shown = (each if each.isprintable() or "\ud800" <= each <= "\udfff" else " " for each in message)
        super().__init__("".join(shown))


def one_line(error: BaseException | str) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
