"""Images and their views: `store`, `view`, `geometry`, `colour`, `augment`."""
