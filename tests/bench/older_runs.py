"""Runs that earlier versions left."""

from pathlib import Path

FIRST = Path(__file__).parents[1] / "runs" / "0.1" / "cifar10-resnet8"
"""Of version 0.1, with the first format of the ledger; its search was judged on images held out."""
