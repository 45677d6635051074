"""What is measured of an encoder: `metrics`, `features`, `neighbours`, `knn`; without labels: `criteria`; by what a
search chooses where labels are few: `choosing`.
"""
