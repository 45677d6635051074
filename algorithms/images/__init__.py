"""Images and their views: `store`, `view`, `geometry`, `colour`, `augment`; shared settings of them: `augmentation`."""
