"""The root of every error that this package raises on purpose."""


class RoadsteadError(Exception):
    """Something went wrong in a way that the code foresaw.

    Subclasses carry fields, not HTTP: what a client is told about them stands in ``roadstead.web.errors``, what the
    command line makes of them in ``roadstead.cli``. ``str(error)`` is a sentence for a person that names no path and no
    secret.
    """
