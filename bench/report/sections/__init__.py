"""The sections of the page: `results_table`, `accuracy`, `compute`, `ranking`, `methods` (its parts are in `method/`),
`timeline`, `trials`, `failures`, `protocol`; `augmentation`, of runs with a preset; `labels` and `classes`, of runs
that measured them."""
