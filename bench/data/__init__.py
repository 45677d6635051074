"""From whatever people have to images.

Choosing           `images`, `known`
Sources            `source`, `named`, `shapes`, `folders`, `packed`, `webdataset`, `parquet`, `door`
Parquet            `parquet_file`, `parquet_columns`, `parquet_cells`
Files of labels    `labels_file`, `labelled`, `matching`
Names and files    `tree`, `paths`, `archives`, `layout`, `conventions`, `foreign`, `wording`
Pixels             `formats`, `tiff`, `arrays`, `limits`, `depth`, `decoding`, `workers`, `decoder`, `decoded`, `stream`
The data set       `dataset`, `assembly`, `splits`, `groups`, `duplicates`, `checks`, `saved`
"""
