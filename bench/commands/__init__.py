"""The command line.

The script         `main`, `options`
Subcommands        `run`, `train`, `evaluate`, `embed`, `profile`, `report`, `anchors`, `simulate`
"""
