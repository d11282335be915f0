"""The least there is: sessions in Redis, and "log out all my devices".

Run it with ``flask --app examples/minimal run``. It wants a Redis on localhost:6379, unless
FLASK_SESSION_REDIS_URL names another place (``embedded://`` starts one).
"""

from flask import Flask, session

from flask_redis_session import RedisSessionInterface

app = Flask(__name__)
app.config.from_prefixed_env()
app.session_interface = RedisSessionInterface()


@app.post("/sign-in/<int:user_id>")
def sign_in(user_id: int) -> str:
    session["user_id"] = user_id  # once you have checked that it is them
    return "Signed in.\n"


@app.post("/log-out-all-my-devices")
def log_out_all_my_devices() -> str:
    return f"Ended: {session.clear_user_sessions()}\n"
