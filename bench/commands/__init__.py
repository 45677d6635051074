"""The command line.

The script         `main`, `options`
Subcommands        `run`, `train`, `evaluate`, `embed`, `export`, `profile`, `report`, `anchors`, `methods`, `simulate`,
                   `log`, `export_optuna`, `bundle`, `verify`, `compare`
"""
