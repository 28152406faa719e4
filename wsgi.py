"""The WSGI entry point for `flask` and gunicorn."""

import sys

from service import create_app
from service.common.cli_commands import prepare_run
from service.config import ConfigurationError

prepare_run()
try:
    app = create_app()
except ConfigurationError as error:
    sys.exit(f"Error: {error}")
