"""The dashboards: what is in them, and what they ask."""
