"""A ready page on which people see where they are signed in, and end any of it.

>>> from flask_redis_session.devices import blueprint
>>> app.register_blueprint(blueprint(base_template="base.html"))

It needs the extra ``devices``. Nothing of the core imports this package.
"""

from .pages import blueprint as blueprint

__all__ = ["blueprint"]
