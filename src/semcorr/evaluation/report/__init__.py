"""Reports of evaluations: Markdown, JSON and a page."""
