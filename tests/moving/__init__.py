"""Sessions of Flask-Session's and of Flask's own, which come over."""
