"""Output whose reader goes away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUFFERED = os.environ | {"PYTHONUNBUFFERED": ""}
WRITE = """
import os, sys
from pathlib import Path
from bench.output import readerless

@readerless()
def main():
    print("first", flush=True)
    sys.stdin.read(1)
    for number in range(20_000):  # more than a buffer's
        print(number)
    print("told", file=sys.stderr)
    Path(sys.argv[1]).touch()
    print("in the buffer at the end")
    return 3

sys.exit(main())
"""


@pytest.mark.parametrize("both", [False, True])
def test_a_command_goes_on_when_the_reader_of_its_output_has_gone_and_ends_with_its_own_status(tmp_path, both):
    words = [sys.executable, "-c", WRITE, str(tmp_path / "done")]
    error = subprocess.STDOUT if both else subprocess.PIPE
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": error}
    process = subprocess.Popen(words, cwd=ROOT, env=BUFFERED, **pipes)
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    process.stdin.write(b"x")
    process.stdin.close()
    if not both:
        assert process.stderr.read() == b"told\n"
    assert process.wait(timeout=60) == 3
    assert (tmp_path / "done").exists()


def test_what_is_written_while_somebody_reads_arrives(tmp_path):
    words = [sys.executable, "-c", WRITE, str(tmp_path / "done")]
    done = subprocess.run(words, cwd=ROOT, env=BUFFERED, input="x", capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["first", *map(str, range(20_000)), "in the buffer at the end"]
    assert done.returncode == 3
