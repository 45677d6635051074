"""The parts of a method's block: `tried`, what all are made from; `settings`, `curves`, `parallel`, `slices`,
`importance`; `axes`, which some draw."""
