"""Linear algebra on one thread: with small matrices in a loop, OpenBLAS's own threads wait for each other longer than they work."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it numpy and scipy use one BLAS thread, as with OPENBLAS_NUM_THREADS=1; outside, what was set before."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
