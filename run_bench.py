"""Which self-supervised method should I use on my images, tuned fairly, for the compute I have?

python run_bench.py --methods all --budget 8gpu-hours
"""

import sys

from bench.commands.main import answer, see_working_directory
from bench.commands.run import command


def main(words: list[str] | None = None) -> int:
    """Plan, run, report; returns the exit status."""
    return answer(command, sys.argv[1:] if words is None else words, "run_bench.py")


if __name__ == "__main__":
    see_working_directory()
    sys.exit(main())
