"""What a run leaves to read.

Parquet            `results`, `run`, `trials`, `judged`; `inspections`, files beside them
What is known      `statistics`, `comparison`, `progress`, `ranges`, `rows`, `columns`
What it says       `verdict`, `kinds`, `labels`, `next_steps`, `diagnosis`, `notes`, `text`
The table          `table`, `readme`
The page           `report`, `page`, `cards`, and a file a section in `sections/`
Beside others      `anchors`, `across_runs`, `across_runs_output`
In one file        `bundle`, `verification`
"""
