"""What methods are made of: `views`, `heads`, `losses`, `memory`, `schedules`, `precision`, `foreach`."""
