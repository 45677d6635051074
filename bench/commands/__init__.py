"""The command line.

The script         `main`, `options`
Subcommands        `run`, `train`, `export`, `profile`, `report`, `anchors`, `simulate`
"""
