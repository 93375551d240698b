"""``python -m tapeline``."""

from tapeline.cli import app

app()
