"""What a run leaves to read.

Parquet            `results`, `run`, `trials`, `judged`
What it says       `statistics`, `rows`, `columns`, `labels`, `verdict`, `notes`, `text`
The table          `table`, `readme`
The page           `report`, `page`, `cards`, and a file a section in `sections/`
Beside others      `anchors`, `comparison`
In one file        `bundle`, `verification`
"""
