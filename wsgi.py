"""The app, for `flask` and gunicorn."""

from service import create_app

app = create_app()
