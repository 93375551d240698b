"""A call to look at: its data, charts and page."""
