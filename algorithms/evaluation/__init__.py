"""What is measured of an encoder: `metrics`, `features`, `neighbours`, `knn`; without labels: `criteria`."""
