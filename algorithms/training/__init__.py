"""Training any method: `recipe`, `trainer`, `report`, `optimizers`, `compiled`, `process`."""
