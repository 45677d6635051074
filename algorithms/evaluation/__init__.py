"""What is measured of an encoder: `metrics`, `features`, `neighbours`, `knn`; without labels: `criteria`,
and of images that were held out `held_out`; by what a
search chooses where labels are few: `choosing`.
"""
