"""The sections of the page: `results_table`, `accuracy`, `differences`, `compute`, `ranking`, `methods` (its parts are
in `method/`), `timeline`, `trials`, `diagnosis`, `protocol`; `augmentation`, of runs with a preset; `labels`, `classes`
and `learned`, of runs that measured them."""
