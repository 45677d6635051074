"""From whatever people have to images.

Choosing           `images`, `known`
Sources            `source`, `named`, `shapes`, `folders`, `packed`, `webdataset`, `parquet`, `parquet_file`, `door`
Names and files    `tree`, `paths`, `archives`, `layout`, `conventions`, `foreign`, `wording`
Pixels             `decoding`, `decoder`
The data set       `dataset`, `assembly`, `splits`, `checks`, `saved`
"""
