"""What is measured of an encoder: `metrics`, most of them an `accuracy`. Of frozen `features`: `knn`, by `neighbours`,
with `clustering`; `linear`, which `logistic` solves; `few` labels. Of a `classifier` that is trained with labels:
`finetune`. Without labels: `criteria`, and `held_out` of images that were held out. By what a search chooses where
labels are few: `choosing`. What a reader looks at: `inspection`, with a map by `tsne`.
"""
