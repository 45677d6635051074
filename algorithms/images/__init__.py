"""Images and their views: `store`, `statistics`, `view`, `geometry`, `colour`, `augment`."""
