"""From whatever people have to images.

Choosing           `images`, `known`
Sources            `source`, `named`, `shapes`, `folders`, `packed`, `webdataset`, `parquet`, `parquet_file`, `door`
Names and files    `tree`, `paths`, `archives`, `layout`, `conventions`, `foreign`, `wording`
Pixels             `formats`, `depth`, `decoding`, `decoder`, `decoded`
The data set       `dataset`, `assembly`, `splits`, `groups`, `duplicates`, `checks`, `saved`
"""
