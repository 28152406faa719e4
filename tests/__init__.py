"""The tests: every route on SQLite and on a real PostgreSQL, servers as real processes."""

import os
import tempfile
from pathlib import Path

# The PostgreSQL wheel keeps its lock file here, and warns at import where there is no such place.
if "XDG_RUNTIME_DIR" not in os.environ:
    runtime = Path(tempfile.gettempdir(), f"products-tests-{os.getuid()}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
