"""An administrator who signs in as a user, as docs/users.md tells."""

from __future__ import annotations

import pytest
from flask_login import LoginManager, UserMixin, current_user, login_user

from tests.support.webapp import Site, session, sids


class Person(UserMixin):  # type: ignore[misc]
    """Somebody whom Flask-Login signs in."""

    def __init__(self, name):
        self.id = name


def become():
    """Sign the administrator in as a user."""
    session["admin_id"] = current_user.get_id()
    login_user(Person("ann"))


def stop():
    """Let the administrator be who they are."""
    login_user(Person(session.pop("admin_id")))


@pytest.fixture
def site(valkey):
    """A site where each user may have one session."""
    site = Site(valkey, SESSION_USER_KEY=("admin_id", "_user_id"), SESSION_MAX_PER_USER=1)
    site.app.secret_key = "for Flask-Login's other cookie"
    LoginManager(site.app).user_loader(Person)
    return site


@pytest.fixture
def user(site):
    """The browser of the user."""
    browser = site.browser()
    browser.visit(lambda: login_user(Person("ann")))
    return browser


@pytest.fixture
def admin(site):
    """The browser of the administrator."""
    browser = site.browser()
    browser.visit(lambda: login_user(Person("root")))
    return browser


def test_stays_the_administrators(site, user, admin):
    """It acts as the user, is in nobody else's list, and ends no session of the user's."""
    admin.visit(become)

    assert "ann" == admin.visit(lambda: current_user.get_id()).value
    assert ([user.sid], [admin.sid]) == (site.index("ann"), site.index("root"))
    assert [user.sid] == user.visit(lambda: sids(session.user_sessions())).value
    assert [admin.sid] == admin.visit(lambda: sids(session.user_sessions())).value
    assert "ann" == user.visit(lambda: current_user.get_id()).value


@pytest.mark.parametrize("step", [become, stop])
def test_rotates(admin, step):
    """Each step gives the session a fresh secret."""
    if step is stop:
        admin.visit(become)
    old = admin.twin()

    admin.visit(step)

    assert {} == old.read()
    assert {} != admin.read()


def test_stops(site, user, admin):
    """After it the administrator is who they were."""
    admin.visit(become)
    admin.visit(stop)

    assert "root" == admin.visit(lambda: current_user.get_id()).value
    assert ([user.sid], [admin.sid]) == (site.index("ann"), site.index("root"))


def test_ends_with_the_administrators(site, user, admin):
    """It ends with the administrator's sessions, and not with the user's."""
    admin.visit(become)

    assert 1 == site.interface.revoke_sessions("ann")
    assert {} != admin.read()
    assert 1 == site.interface.revoke_sessions("root")
    assert {} == admin.read()
