"""Sessions of Flask-Session's and of Flask's own cookies, carried over once each."""
