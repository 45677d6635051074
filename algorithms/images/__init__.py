"""Images and their views: `store`, `statistics`, `view`, `geometry`, `colour`, `augment`; settings of views that all
methods share: `augmentation`."""
