"""Sessions for programs that use joblib: to import this module registers the backend.

::

    import splice.joblib
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="splice"):
        Parallel()(delayed(abs)(n) for n in range(10))
"""

try:
    from splice.cluster.backend import SpliceBackend
except ModuleNotFoundError as error:
    if error.name != "joblib":
        raise
    raise ImportError(
        "splice.joblib needs joblib: pip install 'splice.io[joblib]'"
    ) from error

__all__ = ["SpliceBackend"]
