"""supervise: start a program, keep it running, say what happened, obey.

One small process per service.  docs/design.md says which module does what.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
