"""Images and their views: `store`, `statistics`, `view`, `geometry`, `colour`, `augment`; what all methods share of them:
`augmentation`."""
