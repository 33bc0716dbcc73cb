"""Watch, listen and read every camera; alert only on what is unusual for that one.

The library half of mmstream: every stage of the path as a plain object. It imports neither
Ray nor a web framework; `services` places the same objects on a Ray cluster.
"""

__version__ = "0.1.0"
