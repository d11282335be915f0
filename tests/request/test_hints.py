"""Hints at start: settings that are misspelt, and those of Flask-Session that mean nothing here."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone

import flask
import pytest

from flask_redis_session import RedisSessionInterface
from flask_redis_session.hints import give_hints


class TestNearMisses:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("SESSION_LIFE_TIME", "SESSION_LIFETIME"),
            ("SESSION_LIFETIMES", "SESSION_LIFETIME"),
            ("SESION_LIFETIME", "SESSION_LIFETIME"),
            ("SESSION_REDIS_URI", "SESSION_REDIS_URL"),
            ("SESSION_KEYPREFIX", "SESSION_KEY_PREFIX"),
            ("SESSION_USER_KEYS", "SESSION_USER_KEY"),
            ("SESSIONS_PERMANENT", "SESSION_PERMANENT"),
            ("SESSION_ABSOLUT_LIFETIME", "SESSION_ABSOLUTE_LIFETIME"),
            ("SESSION_TOUCH_INTERVALL", "SESSION_TOUCH_INTERVAL"),
            ("SESSION_MAX_PER_USERS", "SESSION_MAX_PER_USER"),
            ("SESSION_DEVICES_INFO", "SESSION_DEVICE_INFO"),
            ("SESSION_LOADS", "SESSION_LOAD"),
            ("SESSION_REVOKE_WAITS", "SESSION_REVOKE_WAIT"),
            ("PERMANENT_SESSION_LIFE_TIME", "PERMANENT_SESSION_LIFETIME"),
        ],
    )
    def test_warned_of(self, name, meant):
        """A name that is almost a setting is warned of, with the name that was meant."""
        with pytest.warns(UserWarning, match=f"{name} is no setting; did you mean {meant}?"):
            give_hints({name: 1})

    @pytest.mark.parametrize(
        "name",
        [
            # Flask-Login's
            "SESSION_PROTECTION",
            "USE_SESSION_FOR_NEXT",
            "REMEMBER_COOKIE_DURATION",
            # an application's own
            "SESSION_GREETING",
            "SESSION",
            "REDIS_URL",
            "session_lifetimes",
        ],
    )
    def test_foreign(self, name):
        """The settings of other libraries and of the application itself are left in peace."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            give_hints({name: 1})


FUTURE = datetime.now(timezone.utc) + timedelta(days=1)
PAST = datetime.now(timezone.utc) - timedelta(days=1)


class TestFlaskSession:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("SESSION_TYPE", "redis", "it is always Redis"),
            (
                "SESSION_TYPE",
                "filesystem",
                "nothing is kept in 'filesystem': sessions are in Redis",
            ),
            ("SESSION_TYPE", "sqlalchemy", "which SESSION_REDIS or SESSION_REDIS_URL names"),
            ("SESSION_USE_SIGNER", True, "256 random bits"),
            ("SESSION_USE_SIGNER", False, "256 random bits"),
            ("SESSION_SERIALIZATION_FORMAT", "msgpack", "JSON"),
            ("SESSION_ID_LENGTH", 32, "its length is fixed"),
            ("SESSION_CLEANUP_N_REQUESTS", 100, "Redis lets sessions expire"),
            *[
                (name, 1, "sessions are in Redis")
                for name in (
                    "SESSION_CACHELIB",
                    "SESSION_MEMCACHED",
                    "SESSION_MONGODB",
                    "SESSION_MONGODB_DB",
                    "SESSION_MONGODB_COLLECT",
                    "SESSION_SQLALCHEMY",
                    "SESSION_SQLALCHEMY_TABLE",
                    "SESSION_SQLALCHEMY_SCHEMA",
                    "SESSION_SQLALCHEMY_BIND_KEY",
                    "SESSION_SQLALCHEMY_SEQUENCE",
                    "SESSION_FILE_DIR",
                    "SESSION_FILE_MODE",
                    "SESSION_FILE_THRESHOLD",
                    "SESSION_DYNAMODB",
                    "SESSION_DYNAMODB_TABLE_NAME",
                )
            ],
        ],
    )
    def test_hint(self, name, value, told):
        """Each setting that means nothing here gets one hint, which says what is in its place."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            give_hints({name: value})

        (hint,) = [str(each.message) for each in caught]
        assert hint.startswith(f"{name} means nothing to flask-redis-session, remove it; ")
        assert told in hint

    @pytest.mark.parametrize("name", ["SESSION_TYPE", "SESSION_MEMCACHED", "SESSION_USE_SIGNER"])
    def test_none(self, name):
        """A setting that is None was not set."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            give_hints({name: None})

    @pytest.mark.parametrize("name", ["SESSION_REDIS", "SESSION_KEY_PREFIX", "SESSION_PERMANENT"])
    def test_common(self, name):
        """The settings that both have keep their meaning."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            give_hints({name: 1})

    def test_at_start(self):
        """They come when the application starts, each once."""
        app = flask.Flask("app")
        app.config.update(SESSION_TYPE="filesystem", SESSION_USE_SIGNER=True)
        sessions = RedisSessionInterface()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sessions.init_app(app)
            with app.app_context():
                sessions._any_backend()

        assert ["SESSION_TYPE", "SESSION_USE_SIGNER"] == [
            str(each.message).split()[0] for each in caught
        ]


class TestImport:
    def hints(self, **config):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            give_hints(config)
        return [str(each.message) for each in caught]

    def test_eviction(self):
        """While old sessions are carried over, Redis is not to evict their marks."""
        (hint,) = self.hints(SESSION_IMPORT={"cookie": FUTURE})

        assert "noeviction" in hint

    def test_over(self):
        """A source whose time is over is to be removed."""
        hints = self.hints(SESSION_IMPORT={"cookie": PAST, "flask-session": FUTURE})

        assert ["'cookie' ended at", "noeviction"] == [
            told
            for told, hint in zip(("'cookie' ended at", "noeviction"), hints, strict=True)
            if told in hint
        ]
        (alone,) = self.hints(SESSION_IMPORT={"cookie": PAST})
        assert "remove it" in alone

    def test_beside(self):
        """What is beside it means nothing without it."""
        assert ["SESSION_IMPORT_PREFIX means nothing without SESSION_IMPORT, remove it."] == (
            self.hints(SESSION_IMPORT_PREFIX="x:", SESSION_IMPORT_KEEP_OLD=False)
        )

    def test_signer(self):
        """``SESSION_USE_SIGNER`` means something while Flask-Session's are carried over."""
        hints = self.hints(SESSION_IMPORT={"flask-session": FUTURE}, SESSION_USE_SIGNER=True)

        assert 1 == len(hints)
        assert 2 == len(self.hints(SESSION_IMPORT={"cookie": FUTURE}, SESSION_USE_SIGNER=True))
