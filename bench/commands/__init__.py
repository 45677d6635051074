"""The command line.

The script         `main`, `options`
Subcommands        `run`, `train`, `profile`, `report`, `anchors`, `simulate`
"""
