"""The WSGI entry point for `flask` and gunicorn."""

from service import create_app

app = create_app()
