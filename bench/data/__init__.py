"""From whatever people have to images.

Choosing           `images`, `known`
Sources            `source`, `named`, `shapes`, `folders`, `parquet`, `parquet_file`, `door`
Names and files    `tree`, `conventions`, `wording`
Pixels             `formats`, `depth`, `decoding`, `decoder`, `decoded`
The data set       `dataset`, `assembly`, `splits`, `groups`, `duplicates`, `checks`, `saved`
"""
