"""Reports of evaluations, as Markdown, JSON and an HTML page."""
