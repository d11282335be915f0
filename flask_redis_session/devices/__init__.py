"""A ready page on which people see where they are signed in, and sign out any device.

>>> from flask_redis_session.devices import blueprint
>>> app.register_blueprint(blueprint(base_template="base.html"))

It needs the extra ``devices``. The core never imports this package.
"""

from .pages import blueprint as blueprint

__all__ = ["blueprint"]
