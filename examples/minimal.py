"""The smallest application: sessions in Redis, and "log out all my devices".

Run it with ``flask --app examples/minimal run``. It needs a Redis on localhost:6379. For
another one set FLASK_SESSION_REDIS_URL; ``embedded://`` starts one.
"""

from flask import Flask, session

from flask_redis_session import RedisSessionInterface

app = Flask(__name__)
app.config.from_prefixed_env()
app.session_interface = RedisSessionInterface()


@app.post("/sign-in/<int:user_id>")
def sign_in(user_id: int) -> str:
    # After you have checked the password. What came with the anonymous session goes; put back what
    # you want to keep, such as a cart.
    session.clear()
    session["user_id"] = user_id
    return "Signed in.\n"


@app.post("/log-out-all-my-devices")
def log_out_all_my_devices() -> str:
    return f"Ended: {session.clear_user_sessions()}\n"
