"""The command line.

The script         `main`, `options`
Subcommands        `run`, `train`, `embed`, `profile`, `report`, `anchors`, `simulate`
"""
