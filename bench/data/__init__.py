"""From whatever people have to images.

Choosing           `images`, `known`
Sources            `source`, `named`, `shapes`, `folders`, `parquet`, `door`
Parquet            `parquet_file`, `parquet_columns`, `parquet_cells`
Files of labels    `labels_file`, `labelled`, `matching`
Names and files    `tree`, `conventions`, `wording`
Pixels             `decoding`, `decoder`
The data set       `dataset`, `assembly`, `splits`, `checks`, `saved`
"""
