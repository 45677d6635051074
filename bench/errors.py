"""The one error that a user sees: a line that says what is wrong and what would be right."""


class UserError(Exception):
    """Bad input. `run_bench.py` prints the message on one line and exits with status 2."""

    def __init__(self, message: str) -> None:
        """Line breaks and control characters, which what the message quotes may hold, become spaces."""
        super().__init__("".join(character if character.isprintable() else " " for character in message))


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
