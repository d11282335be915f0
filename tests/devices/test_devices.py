from __future__ import annotations

import inspect
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import pytest
from flask_login import LoginManager

from flask_redis_session import RedisSessionInterface, SettingError
from flask_redis_session.devices import blueprint
from flask_redis_session.testing import sign_in
from tests.devices.site import (
    EDGE,
    FIREFOX,
    IPHONE,
    Person,
    age,
    as_text,
    bare_app,
    fill,
    make_app,
    setting,
    sids_in,
    text_of,
    token_in,
)
from tests.support.clients import shared_client
from tests.support.webapp import names_in

if TYPE_CHECKING:
    from tests.support.servers import Cluster, Server

USERS = ["23", "a:b", "user:23", "Zoë Müller", "*", "a b", "../x", "23\n", "💻", "%2e", "'\"<b>"]


def _with_wtf(server: Server, **options: Any) -> flask.Flask:
    from flask_wtf import CSRFProtect

    app = bare_app(server)
    app.secret_key = "for Flask-WTF"
    CSRFProtect(app).exempt(app.view_functions["sign_in"])
    app.register_blueprint(blueprint(**options))
    return app


class TestList:
    def test_shows_where_somebody_is_signed_in(self, server: Server) -> None:
        """Each session has its device, address and times; this one comes first and is marked."""
        app = make_app(server)
        here = Person(app, 23, FIREFOX, "192.0.2.7")
        there = Person(app, 23, IPHONE, "2001:db8::1")
        age(server, 23, there.sid, 3 * 60 + 5)
        Person(app, 42, EDGE)
        page = here.open().text

        assert [here.sid, there.sid] == sids_in(page)
        assert (
            "Firefox on Linux This device Last active just now Signed in just now "
            "Address 192.0.2.7 Sign out Firefox on Linux, 192.0.2.7, active just now "
            "Safari on iPhone Last active 3 minutes ago Signed in 3 minutes ago "
            "Address 2001:db8::1 Sign out Safari on iPhone, 2001:db8::1, active 3 minutes ago"
        ) in text_of(page)

    def test_tells_the_exact_time(self, valkey: Server) -> None:
        """A time is UTC, for programs in ``datetime`` and for people in ``title``."""
        app = make_app(valkey)
        here, there = Person(app, 23), Person(app, 23)
        age(valkey, 23, there.sid, 3 * 86_400)
        seen = float(valkey.client().hget(f"session:{there.sid}", "@seen") or 0)
        when = datetime.fromtimestamp(seen, timezone.utc)
        expected = (
            f'<time datetime="{when:%Y-%m-%dT%H:%M:%S}+00:00" title="{when:%Y-%m-%d %H:%M:%S} UTC">'
            "3 days ago</time>"
        )

        assert expected in here.open().text

    def test_alone(self, valkey: Server) -> None:
        """Somebody with one session is told so, and gets no button to sign out others."""
        text = text_of(Person(make_app(valkey), 23).open().text)

        assert "You are signed in on this device only." in text
        assert "everywhere else" not in text
        assert "unused" not in text

    def test_shows_the_sign_in(self, valkey: Server) -> None:
        """Signed in is when the user did, not when a visitor's session was created long before."""
        person = Person(make_app(valkey), 23)
        valkey.client().hincrbyfloat(f"session:{person.sid}", "@born", -900 * 86_400)
        (shown,) = person.json()["sessions"]

        assert "Signed in just now" in text_of(person.open().text)
        assert shown["created_at"] < shown["signed_in_at"]

    def test_signed_in_at_an_unknown_time(self, valkey: Server) -> None:
        """A session that does not tell when its user signed in is shown all the same."""
        person = Person(make_app(valkey), 23)
        valkey.client().hdel(f"session:{person.sid}", "@signed")

        assert "Signed in before the move" in text_of(person.open().text)
        assert None is person.json()["sessions"][0]["signed_in_at"]

    @pytest.mark.parametrize("page_size", [50, 2])
    def test_offers_to_end_the_unused(self, server: Server, page_size: int) -> None:
        """To sign out the unused is offered if there is one, also if it is on another page."""
        app = make_app(server, page_size=page_size)
        here, *others = (Person(app, 23) for _ in range(4))
        offer = "Sign out devices unused for 30 days"

        assert offer not in text_of(here.open().text)

        age(server, 23, others[0].sid, 31 * 86_400)
        assert offer in text_of(here.open().text)

        server.client().delete(f"session:{others[0].sid}")
        assert offer not in text_of(here.open().text)
        age(server, 23, here.sid, 31 * 86_400)
        assert offer not in text_of(here.open().text)

    def test_keeps_the_secrets(self, server: Server) -> None:
        """Neither the page nor the JSON holds the secret of any session, nor its digest."""
        app = make_app(server)
        here, there = Person(app, 23), Person(app, 23)
        texts = here.open().text + str(here.json())
        digests = [
            field.partition("@secret:")[2]
            for person in (here, there)
            for field in map(as_text, server.client().hkeys(f"session:{person.sid}"))
            if field.startswith("@secret:")
        ]

        assert [] == [
            held for held in (here.secret, there.secret, *digests) if held in texts or not held
        ]
        assert 2 == len(digests)

    def test_is_not_to_be_kept_nor_framed(self, valkey: Server) -> None:
        """No cache may keep the page, and no site may show it in a frame; its style may be kept."""
        app = make_app(valkey, sign_in="/sign-in")
        here = Person(app, 23)
        responses = [
            here.open(),
            here.open(headers={"Accept": "application/json"}),
            here.post("end-others"),
            here.post("nonsense/end", status=404),
            here.post("end-others", devices_token="", status=400),
            Person(app).open(status=303),
            Person(app).open(status=401, headers={"Accept": "application/json"}),
        ]

        assert {"no-store"} == {each.headers["Cache-Control"] for each in responses}
        assert {"DENY"} == {each.headers["X-Frame-Options"] for each in responses}

        style = here.open("/devices/devices-static/devices.css")

        assert "no-store" not in style.headers["Cache-Control"]

    def test_shows_no_device_where_none_is_kept(self, valkey: Server) -> None:
        """With ``SESSION_DEVICE_INFO = False`` the page names neither a device nor an address."""
        app = make_app(valkey)
        app.config["SESSION_DEVICE_INFO"] = False
        text = text_of(Person(app, 23).open().text)

        assert "Unknown device This device" in text
        assert "Address" not in text

    def test_shows_what_a_browser_says_as_text(self, valkey: Server) -> None:
        """Markup in a user agent or an address is shown and never becomes part of the page."""
        app = make_app(valkey)
        here = Person(app, 23)
        fill(valkey, 23, 1, "curl/8 <img src=x>")
        valkey.client().hset(f"session:{'0' * 22}", "@ip", "<b>1</b>")
        page = here.open().text

        assert "<b>1" not in page
        assert "<img" not in page
        assert "Address <b>1</b>" in text_of(page.replace("&lt;", "\x01")).replace("\x01", "<")

    @pytest.mark.parametrize("user", USERS)
    def test_any_user(self, valkey: Server, user: str) -> None:
        """A user's id may hold what it likes: everybody sees and ends their own sessions."""
        app = make_app(valkey)
        here, there = Person(app, user), Person(app, user)
        others = [Person(app, other) for other in USERS if other != user]

        assert {here.sid, there.sid} == set(sids_in(here.open().text))

        here.post("end-all")

        assert [False, False] == [here.is_in, there.is_in]
        assert all(other.is_in for other in others)

    def test_flask_login(self, valkey: Server) -> None:
        """In an application with Flask-Login the user is under ``_user_id``."""
        app = make_app(valkey)
        LoginManager(app).user_loader(lambda name: None)
        app.add_url_rule("/login", "login", setting(_user_id="23"))
        here = Person(app)
        here.client.get("/login")

        assert [here.sid] == sids_in(here.open().text)

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_costs(self, server: Server) -> None:
        """The first page of a session stores its token; after it a page writes nothing."""
        app = make_app(server)
        here = Person(app, 23)
        Person(app, 23)
        here.open()
        with server.cost() as cost:
            here.open()

        assert 3 == cost.round_trips
        called = {*cost.commands}
        assert {"hmget", "zrevrange"} <= called
        assert not called & {"hset", "hdel", "zadd", "zrem", "pexpire", "pexpireat", "unlink"}

    def test_other_sessions_than_ours(self) -> None:
        """In an app without these sessions the page says what is missing."""
        app = flask.Flask("plain")
        app.secret_key = "plain"
        app.testing = True
        app.register_blueprint(blueprint())

        with pytest.raises(RuntimeError, match="RedisSessionInterface"):
            app.test_client().get("/devices")


class TestNobody:
    def test_is_refused(self, valkey: Server) -> None:
        """Without a sign-in every page but "signed out" is a 401, and Redis is not asked."""
        nobody = Person(make_app(valkey))
        with valkey.cost() as cost:
            nobody.open(status=401)
            nobody.post("end-all", devices_token="x", status=401)
            nobody.open("/devices/signed-out")

        assert 0 == cost.calls

    @pytest.mark.parametrize("where", ["sign_in_form", "/sign-in"])
    def test_is_sent_to_sign_in(self, valkey: Server, where: str) -> None:
        """If the app names an endpoint or a URL, a visitor who is not signed in is sent there."""
        nobody = Person(make_app(valkey, sign_in=where))

        assert "/sign-in" == nobody.open(status=303).location
        assert "/sign-in" == nobody.post("end-all", devices_token="x").location

    def test_is_answered_by_a_function(self, valkey: Server) -> None:
        """If the app gives a function, such as Flask-Login's ``unauthorized``, it answers."""
        nobody = Person(make_app(valkey, sign_in=lambda: ("Who are you?", 403)))

        assert "Who are you?" == nobody.open(status=403).text

    def test_is_told_in_json(self, valkey: Server) -> None:
        """A program gets a 401 in JSON, whatever people get."""
        nobody = Person(make_app(valkey, sign_in="/sign-in"))

        assert "nobody" == nobody.json(status=401)["error"]


class TestEndOne:
    def test_another(self, server: Server) -> None:
        """The session that is ended is out at its next click; the others are not."""
        app = make_app(server)
        here, there, third = (Person(app, 23) for _ in range(3))
        response = here.post(f"{there.sid}/end")

        assert "/devices" == response.location
        assert [True, False, True] == [here.is_in, there.is_in, third.is_in]
        assert {here.sid, third.sid} == set(sids_in(here.open().text))

    def test_says_so_once(self, valkey: Server) -> None:
        """The page after it says what was done; opened again, or by a link, it does not."""
        app = make_app(valkey)
        here, there = Person(app, 23), Person(app, 23)
        here.post(f"{there.sid}/end")
        first, second = (text_of(here.open().text) for _ in range(2))

        assert "That device is signed out." in first
        assert "That device is signed out." not in second

    def test_this_one(self, server: Server) -> None:
        """To end the current session signs out, clears the cookie and leaves the others alone."""
        app = make_app(server)
        here, there = Person(app, 23), Person(app, 23)
        sid = here.sid
        response = here.post(f"{sid}/end")

        assert "/devices/signed-out" == response.location
        assert here.client.get_cookie("session") is None
        assert not server.client().hexists(f"session:{sid}", "@born")
        assert [False, True] == [here.is_in, there.is_in]
        assert "Only on this device." in text_of(here.open(response.location).text)

    def test_somebody_elses(self, server: Server) -> None:
        """Another user's session is a 404 like one that there never was, and goes on."""
        app = make_app(server)
        mira, jonas = Person(app, 23), Person(app, 42)
        mira.post(f"{jonas.sid}/end", status=404)

        assert jonas.is_in

    @pytest.mark.parametrize(
        "sid", ["A" * 22, "x", "user:23", "*", "%2e%2e", "a" * 5000, "%F0%9F%92%BB", "%00", "a b"]
    )
    def test_unknown(self, valkey: Server, sid: str) -> None:
        """A sid that is none, or nobody's, is a 404 and touches nothing in Redis."""
        here = Person(make_app(valkey), 23)
        token = here.token()
        before = sorted(valkey.client().keys("*"))
        page = here.post(f"{sid}/end", status=404, devices_token=token).text

        assert "Perhaps it was signed out already" in text_of(page)
        assert before == sorted(valkey.client().keys("*"))
        assert here.is_in

    def test_twice(self, valkey: Server) -> None:
        """What has ended already is a 404, with a way back to the list."""
        app = make_app(valkey)
        here, there = Person(app, 23), Person(app, 23)
        sid = there.sid
        here.post(f"{sid}/end")

        assert 'href="/devices"' in here.post(f"{sid}/end", status=404).text


class TestEndSeveral:
    def test_the_others(self, server: Server) -> None:
        """To end the others leaves this one, and says how many there were."""
        app = make_app(server)
        here, *others = [Person(app, 23) for _ in range(4)]
        stranger = Person(app, 42)
        here.post("end-others")

        assert [False] * 3 == [other.is_in for other in others]
        assert [True, True] == [here.is_in, stranger.is_in]
        assert "Signed out everywhere else: 3 devices." in text_of(here.open().text)

    def test_the_unused(self, server: Server) -> None:
        """To end the unused ends what was not seen for 30 days, and nothing else."""
        app = make_app(server)
        here, new, old = (Person(app, 23) for _ in range(3))
        age(server, 23, new.sid, 30 * 86_400 - 60)
        age(server, 23, old.sid, 30 * 86_400 + 60)
        here.post("end-unused")
        text = text_of(here.open().text)

        assert [True, False] == [new.is_in, old.is_in]
        assert "Signed out: 1 device unused for 30 days." in text

    def test_as_many_days_as_the_app_says(self, valkey: Server) -> None:
        """After how many days a session is unused is an option, and the button says it."""
        app = make_app(valkey, unused_days=7)
        here, old = Person(app, 23), Person(app, 23)
        age(valkey, 23, old.sid, 8 * 86_400)

        assert "Sign out devices unused for 7 days" in text_of(here.open().text)

        here.post("end-unused")

        assert not old.is_in

    def test_none(self, valkey: Server) -> None:
        """If there was none to end, the page says so."""
        app = make_app(valkey)
        here = Person(app, 23)
        here.post("end-others")

        assert "You were not signed in anywhere else." in text_of(here.open().text)

        here.post("end-unused")

        assert "No device was unused for 30 days." in text_of(here.open().text)

    def test_all(self, server: Server) -> None:
        """To end all ends this one too, clears its cookie, and leaves nothing in Redis."""
        app = make_app(server)
        here, *others = [Person(app, 23) for _ in range(3)]
        response = here.post("end-all")

        assert here.client.get_cookie("session") is None
        assert [False] * 3 == [person.is_in for person in (here, *others)]
        assert set() == names_in(server.client())
        assert "Every device that was signed in will ask you" in text_of(
            here.open(response.location).text
        )

    def test_where_to_go_after_it(self, valkey: Server) -> None:
        """If the app names a page for people who signed out, they are sent there."""
        app = make_app(valkey, signed_out="home")
        here, there = Person(app, 23), Person(app, 23)

        assert "/" == here.post(f"{here.sid}/end").location
        assert "/" == there.post("end-all").location

    def test_signed_out_page_of_somebody_who_is_not(self, valkey: Server) -> None:
        """Whoever is signed in is not told that they are signed out, but sent to the list."""
        here = Person(make_app(valkey), 23)

        assert "/devices" == here.open("/devices/signed-out?everywhere=1", status=303).location

    @pytest.mark.parametrize(
        ("option", "header"),
        [
            (False, None),
            (True, '"cache", "cookies", "storage"'),
            (["cookies"], '"cookies"'),
            (("*",), '"*"'),
        ],
    )
    def test_clear_site_data(self, valkey: Server, option: Any, header: str | None) -> None:
        """If the app wants it, the browser clears its data, but only after "everywhere"."""
        app = make_app(valkey, clear_site_data=option)
        here = Person(app, 23)

        assert "Clear-Site-Data" not in here.post("end-others").headers
        assert header == here.post("end-all").headers.get("Clear-Site-Data")

    def test_in_a_cluster(self, cluster: Cluster) -> None:
        """If the keys are on several nodes, the page lists and ends as on one."""
        app = make_app(cluster)
        here, *others = [Person(app, 23) for _ in range(6)]

        assert 6 == len(sids_in(here.open().text))

        here.post(f"{others[0].sid}/end")
        here.post("end-others")

        assert "4 devices" in text_of(here.open().text)

        here.post("end-all")

        assert [False] * 6 == [person.is_in for person in (here, *others)]


class TestForgery:
    @pytest.mark.parametrize("action", ["end-others", "end-unused", "end-all", "{sid}/end"])
    @pytest.mark.parametrize("token", ["", "guessed", "ünïcode \ud83d", "\x00"])
    def test_without_the_token(self, valkey: Server, action: str, token: str) -> None:
        """A change without the session's token is a 400 and changes nothing."""
        app = make_app(valkey)
        here, there = Person(app, 23), Person(app, 23)
        here.open()
        age(valkey, 23, there.sid, 99 * 86_400)
        form = {"devices_token": token.encode("utf-8", "surrogatepass")}
        response = here.client.post(f"/devices/{action.format(sid=there.sid)}", data=form)

        assert 400 == response.status_code
        assert "Nothing was changed." in text_of(response.text)
        assert [True, True] == [here.is_in, there.is_in]

    def test_before_there_is_a_token(self, valkey: Server) -> None:
        """A session whose page was never opened has no token, and no text passes for it."""
        here = Person(make_app(valkey), 23)

        here.post("end-all", devices_token="", status=400)
        here.post("end-all", devices_token="None", status=400)

    def test_with_the_token_of_somebody_else(self, valkey: Server) -> None:
        """A token is one session's: neither another user's nor another browser's will do."""
        app = make_app(valkey)
        here, same, other = Person(app, 23), Person(app, 23), Person(app, 42)
        here.open()

        here.post("end-all", devices_token=other.token(), status=400)
        here.post("end-all", devices_token=same.token(), status=400)

    def test_with_a_planted_session(self, valkey: Server) -> None:
        """Who signs in on a browser with an attacker's session is safe from that one's token."""
        app = make_app(valkey)
        attacker = Person(app, 666)
        planted = attacker.token()
        attacker.sign_in(23)

        attacker.post("end-all", devices_token=planted, status=400)

        assert planted != attacker.token()

    def test_from_another_site(self, valkey: Server) -> None:
        """What a browser says comes from another site is refused, be the token right."""
        app = make_app(valkey)
        here = Person(app, 23)
        form = {"devices_token": here.token()}
        post = here.client.post
        response = post("/devices/end-all", data=form, headers={"Sec-Fetch-Site": "cross-site"})

        assert 400 == response.status_code

        response = post("/devices/end-all", data=form, headers={"Sec-Fetch-Site": "same-origin"})

        assert 303 == response.status_code

    def test_by_a_link(self, valkey: Server) -> None:
        """Nothing is changed by a GET."""
        here = Person(make_app(valkey), 23)
        for action in ("end-others", "end-unused", "end-all", f"{here.sid}/end"):
            here.open(f"/devices/{action}?devices_token={here.token()}", status=405)

        assert here.is_in

    def test_token_is_the_same_in_two_tabs(self, valkey: Server) -> None:
        """A page that was opened again does not put the one before it out of date."""
        here = Person(make_app(valkey), 23)
        first, second = here.token(), here.token()

        assert first == second
        assert 32 == len(first)

    @pytest.mark.parametrize(
        "held", [None, 1, [], {"a": 1}, "", " ", "x", " 23", "x 42", "\ud800 23", "\xe4 23"]
    )
    def test_damaged_token(self, valkey: Server, held: Any) -> None:
        """Whatever else is under the token's key lets nobody through, and is replaced."""
        app = make_app(valkey)
        app.add_url_rule("/damage", "damage", setting(_devices_token=held))
        here = Person(app, 23)
        here.client.get("/damage")
        given = str(held).encode("utf-8", "replace").decode()
        here.post("end-all", devices_token=given, status=400)
        here.post("end-all")

        assert not here.is_in


class TestFlaskWtf:
    def test_both_tokens_are_in_the_forms(self, valkey: Server) -> None:
        """If the app has Flask-WTF's CSRFProtect, the forms of the page pass both checks."""
        here = Person(_with_wtf(valkey), 23)
        page = here.open().text
        [theirs] = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
        here.post("end-all", devices_token=token_in(page), csrf_token=theirs)

        assert not here.is_in

    def test_each_is_checked(self, valkey: Server) -> None:
        """Neither of the two tokens stands for the other."""
        here = Person(_with_wtf(valkey), 23)
        page = here.open().text
        [theirs] = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))

        here.post("end-all", devices_token=token_in(page), status=400)
        here.post("end-all", devices_token="", csrf_token=theirs, status=400)

        assert here.is_in

    def test_in_json(self, valkey: Server) -> None:
        """A program sends Flask-WTF's header, as it does everywhere in that app, and ours."""
        app = _with_wtf(valkey)
        app.add_url_rule("/wtf", "wtf", lambda: flask.render_template_string("{{ csrf_token() }}"))
        here = Person(app, 23)
        headers = {
            "X-CSRFToken": here.open("/wtf").text,
            "X-Devices-Token": here.json()["token"],
        }
        answer = here.json("/devices/end-all", method="POST", headers=headers)

        assert {"ended": 1, "signed_out": True} == answer

    def test_another_csrf_token(self, valkey: Server) -> None:
        """An app whose ``csrf_token`` is a text, and so not Flask-WTF's, is left alone."""
        app = make_app(valkey)
        app.context_processor(lambda: {"csrf_token": "text"})

        assert 'name="csrf_token"' not in Person(app, 23).open().text


class TestPages:
    def test_newest_first(self, server: Server) -> None:
        """A page shows so many, and links to the ones before and after it."""
        app = make_app(server, page_size=2)
        people = [Person(app, 23) for _ in range(5)]
        for seconds, person in enumerate(people):
            age(server, 23, person.sid, 60.0 * seconds)
        here, sids = people[0], [person.sid for person in people]
        pages = [here.open(f"/devices?page={number}").text for number in (1, 2, 3)]
        links = [re.findall(r'rel="(?:prev|next)" href="([^"]+)"', page) for page in pages]

        assert [sids[0:2], sids[2:4], sids[4:5]] == [sids_in(page) for page in pages]
        assert [
            ["/devices?page=2"],
            ["/devices", "/devices?page=3"],
            ["/devices?page=2"],
        ] == links

    def test_this_one_is_first_whenever_it_was_seen(self, server: Server) -> None:
        """The session that asks heads the first page, be others newer, and is not shown again."""
        app = make_app(server, page_size=2)
        here, *others = [Person(app, 23, IPHONE) for _ in range(4)]
        age(server, 23, here.sid, 50)
        pages = [here.open(f"/devices?page={number}").text for number in (1, 2)]
        first, second = map(sids_in, pages)

        assert here.sid == first[0]
        assert {other.sid for other in others} == {*first[1:], *second}
        assert "Safari on iPhone This device Last active just now" in text_of(pages[0])

    @pytest.mark.parametrize(
        "number", ["0", "-1", "x", "", "1e3", "9" * 10, "٣", "1.5", "1 or 1=1", "01"]
    )
    def test_no_such_number(self, valkey: Server, number: str) -> None:
        """What is no number of a page is a 404."""
        here = Person(make_app(valkey), 23)
        response = here.client.get("/devices", query_string={"page": number})

        assert 404 == response.status_code

    @pytest.mark.parametrize("number", [2, 999_999_999])
    def test_beyond_the_end(self, valkey: Server, number: int) -> None:
        """A page with nothing on it (any more) leads to the first one."""
        here = Person(make_app(valkey), 23)

        assert "/devices" == here.open(f"/devices?page={number}", status=303).location

    def test_comes_back_to_the_page(self, valkey: Server) -> None:
        """Whoever ends a session on page 2 is on page 2 again."""
        app = make_app(valkey, page_size=2)
        here = Person(app, 23)
        fill(valkey, 23, 9)
        page = here.open("/devices?page=2").text

        assert 'name="page" value="2"' in page

        sid = sids_in(page)[0]

        assert "/devices?page=2" == here.post(f"{sid}/end", page="2").location

    @pytest.mark.parametrize("number", ["x", "0", "//evil.example", "9" * 10])
    def test_comes_back_nowhere_else(self, valkey: Server, number: str) -> None:
        """What is no number of a page leads to the first one."""
        app = make_app(valkey)
        here, there = Person(app, 23), Person(app, 23)

        assert "/devices" == here.post(f"{there.sid}/end", page=number).location


class TestJson:
    def test_list(self, server: Server) -> None:
        """A program gets the same list, with times in UTC and what to go on with."""
        app = make_app(server, page_size=2)
        here = Person(app, 23, FIREFOX, "192.0.2.7")
        there = Person(app, 23, IPHONE, "2001:db8::1")
        age(server, 23, there.sid, 3600)
        fill(server, 42, 1)
        answer = here.json()
        [mine, theirs] = answer.pop("sessions")
        times = [datetime.fromisoformat(theirs.pop(f"{name}_at")) for name in TIMES]

        assert {"page": 1, "next": None, "token": here.token()} == answer
        assert {
            "sid": there.sid,
            "current": False,
            "device": "Safari on iPhone",
            "browser": "Safari",
            "system": "iPhone",
            "user_agent": IPHONE,
            "address": "2001:db8::1",
        } == theirs
        assert (here.sid, True) == (mine["sid"], mine["current"])
        assert ["UTC"] * 4 == [time.tzname() for time in times]
        assert times == sorted(times)

    def test_pages(self, valkey: Server) -> None:
        """``next`` is the address of the next page, until there is none."""
        app = make_app(valkey, page_size=2)
        here = Person(app, 23)
        fill(valkey, 23, 4)
        following, sids = "/devices", []
        while following:
            answer = here.json(following)
            following = answer["next"]
            sids += [each["sid"] for each in answer["sessions"]]

        assert [here.sid, *(f"{number:022}" for number in range(4))] == sids

    def test_beyond_the_end(self, valkey: Server) -> None:
        """A page beyond the end is an empty one; what is no number is a 404."""
        here = Person(make_app(valkey), 23)

        assert [] == here.json("/devices?page=7")["sessions"]
        assert "no-page" == here.json("/devices?page=x", status=404)["error"]

    def test_changes(self, server: Server) -> None:
        """Each change answers how many it ended and whether the program is signed out now."""
        app = make_app(server)
        here, one, old, *others = [Person(app, 23) for _ in range(6)]
        headers = {"X-Devices-Token": here.json()["token"]}
        age(server, 23, old.sid, 31 * 86_400)

        def post(action: str) -> Any:
            return here.json(f"/devices/{action}", method="POST", headers=headers)

        assert {"ended": 1, "signed_out": False} == post(f"{one.sid}/end")
        assert {"ended": 1, "signed_out": False} == post("end-unused")
        assert {"ended": 3, "signed_out": False} == post("end-others")
        assert {"ended": 1, "signed_out": True} == post("end-all")
        assert not any(person.is_in for person in (here, one, old, *others))

    def test_leaves_no_notice(self, valkey: Server) -> None:
        """What a program did is not told to a person at their next page."""
        app = make_app(valkey)
        here = Person(app, 23)
        headers = {"X-Devices-Token": here.json()["token"]}
        here.json("/devices/end-others", method="POST", headers=headers)

        assert "not signed in anywhere else" not in here.open().text

    def test_refusals(self, valkey: Server) -> None:
        """A missing token and an unknown sid are told in JSON."""
        here = Person(make_app(valkey), 23)
        headers = {"X-Devices-Token": here.json()["token"]}
        stale = here.json("/devices/end-all", method="POST", status=400)
        unknown = here.json("/devices/x/end", method="POST", headers=headers, status=404)

        assert ["stale", "unknown"] == [stale["error"], unknown["error"]]
        assert "X-Devices-Token" in stale["message"]

    @pytest.mark.parametrize(
        ("accept", "mimetype"),
        [
            ("application/json", "application/json"),
            ("application/json, text/html;q=0.5", "application/json"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
            ("*/*", "text/html"),
            ("text/plain", "text/html"),
            ("", "text/html"),
        ],
    )
    def test_for_those_who_ask(self, valkey: Server, accept: str, mimetype: str) -> None:
        """JSON is for those who would rather have it than a page, and caches are told."""
        response = Person(make_app(valkey), 23).open(headers={"Accept": accept})

        assert mimetype == response.mimetype
        assert "Accept" in response.vary


TIMES = ("created", "signed_in", "last_seen", "expires")


class TestLayout:
    def test_in_the_apps_own(self, valkey: Server) -> None:
        """With ``base_template`` each page sits in the app's layout and fills its blocks."""
        app = make_app(valkey, base_template="base.html")
        here = Person(app, 23)
        pages = [here.open(), here.post("x/end", status=404)]
        pages.append(here.open(here.post("end-all").location))

        assert all('<a href="/">The shop</a>' in page.text for page in pages)
        assert [1, 1, 1] == [page.text.count("<main>") for page in pages]
        assert [
            "Where you’re signed in at the shop",
            "Not done at the shop",
            "Signed out at the shop",
        ] == [re.findall("<title>(.*)</title>", page.text)[0] for page in pages]

    def test_blocks_of_other_names(self, valkey: Server) -> None:
        """The blocks of the layout may have other names, and it may have none for the title."""
        layout = "<title>Mine</title><article>{% block body_of_it %}{% endblock %}</article>"
        app = make_app(
            valkey,
            {"mine.html": layout},
            base_template="mine.html",
            content_block="body_of_it",
            title_block=None,
        )
        page = Person(app, 23).open().text

        assert page.startswith("<title>Mine</title><article>")
        assert "Firefox on Linux" in page

    def test_texts_of_the_apps_own(self, valkey: Server) -> None:
        """A template of the same name takes the texts over, block by block."""
        templates = {
            "flask_redis_session/devices.html": (
                '{% extends "flask_redis_session/default/devices.html" %}'
                "{% block devices_heading %}Angemeldete Geräte{% endblock %}"
                "{% block devices_this_one %}dieses{% endblock %}"
                "{% block devices_end %}{{ info.user_id }} abmelden{% endblock %}"
            ),
            "flask_redis_session/moment.html": "vor {{ devices.ago(when).number }} Minuten",
        }
        text = text_of(Person(make_app(valkey, templates), 23).open().text)

        assert "Angemeldete Geräte" in text
        assert "Firefox on Linux dieses Last active vor 0 Minuten" in text
        assert "23 abmelden" in text

    def test_fields_of_the_apps_own(self, valkey: Server) -> None:
        """An app with a token of its own adds it to every form by one template."""
        templates = {"flask_redis_session/form_fields.html": "<input name=mine>"}
        page = Person(make_app(valkey, templates), 23).open().text

        assert page.count("<form") == page.count("<input name=mine>") > 1

    def test_an_app_with_strict_templates(self, valkey: Server) -> None:
        """The templates use nothing that is not defined, and no extension."""
        from jinja2 import StrictUndefined

        app = make_app(valkey, sign_in="/sign-in")
        app.jinja_env.undefined = StrictUndefined
        here = Person(app, 23)
        fill(valkey, 23, 60)
        here.open("/devices?page=2")
        here.post("x/end", status=404)
        here.post("end-others")
        here.open()
        page = here.open(here.post("end-all").location).text

        assert 'href="/sign-in"' in page

    def test_twice_in_one_app(self, valkey: Server) -> None:
        """Two pages may be in one app, each with options and a layout of its own."""
        app = make_app(valkey, {"other.html": "Other: {% block inner %}{% endblock %}"})
        app.register_blueprint(
            blueprint(
                name="other",
                url_prefix="/other",
                base_template="other.html",
                content_block="inner",
                title_block=None,
            )
        )
        here = Person(app, 23)

        assert here.open("/other").text.startswith("Other: ")
        assert 'action="/other/end-all"' in here.open("/other").text
        assert 'action="/devices/end-all"' in here.open("/devices").text

    def test_inside_another_blueprint(self, valkey: Server) -> None:
        """It may be nested in a blueprint, and under any address."""
        app = bare_app(valkey)
        account = flask.Blueprint("account", __name__, url_prefix="/account")
        account.register_blueprint(blueprint(url_prefix="/where"))
        app.register_blueprint(account)
        here = Person(app, 23)
        page = here.open("/account/where").text

        assert 'action="/account/where/end-all"' in page

        here.open(re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)[0])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("url_prefix", ""),
        ("url_prefix", "devices"),
        ("url_prefix", None),
        ("url_prefix", "//"),
        ("url_prefix", "/account//devices"),
        ("name", ""),
        ("name", "a.b"),
        ("name", None),
        ("base_template", ""),
        ("base_template", 1),
        ("content_block", "{% evil %}"),
        ("content_block", None),
        ("content_block", "devices_content"),
        ("title_block", "a b"),
        ("title_block", "content"),
        ("title_block", "devices_title"),
        ("page_size", 0),
        ("page_size", 1001),
        ("page_size", True),
        ("page_size", "50"),
        ("unused_days", 0),
        ("unused_days", 1.5),
        ("unused_days", 36_501),
        ("sign_in", ""),
        ("sign_in", 1),
        ("signed_out", b"/"),
        ("clear_site_data", "cookies"),
        ("clear_site_data", None),
        ("clear_site_data", ['cookies", "x']),
        ("clear_site_data", [1]),
    ],
)
def test_options(option: str, value: Any) -> None:
    """An option that is not what it should be fails at once, with an error that names it."""
    with pytest.raises(SettingError) as caught:
        blueprint(**{option: value})

    assert option == caught.value.setting


@pytest.mark.parametrize("how", ["option", "registered", "inside"])
@pytest.mark.parametrize("prefix", ["/", "/account/"])
def test_any_address(valkey: Server, prefix: str, how: str) -> None:
    """The page has its style wherever it is, also beside files of the application's own."""
    app = flask.Flask("own")
    app.session_interface = RedisSessionInterface(redis=shared_client(valkey))
    assert app.has_static_folder
    if how == "option":
        app.register_blueprint(blueprint(url_prefix=prefix))
    elif how == "registered":
        app.register_blueprint(blueprint(), url_prefix=prefix)
    else:
        outer = flask.Blueprint("outer", __name__)
        outer.register_blueprint(blueprint(url_prefix=prefix))
        app.register_blueprint(outer)
    client = app.test_client()
    sid = sign_in(client, 23)
    page = client.get(prefix).text
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]*)"', page)

    assert f'action="{prefix}{sid}/end"' in page
    with client.get(style) as answer:
        assert "text/css; charset=utf-8" == answer.content_type


@pytest.mark.parametrize(("option", "most"), [("page_size", 1000), ("unused_days", 36_500)])
def test_the_most(valkey: Server, option: str, most: int) -> None:
    """The highest number that an option takes is one that the page can do with."""
    options: Any = {option: most}
    here = Person(make_app(valkey, **options), 23)

    assert [here.sid] == sids_in(here.open().text)
    here.post("end-unused", status=303)


def test_documentation() -> None:
    """The documentation names each option, and no block or template that there is not."""
    root = Path(__file__).parents[2]
    text = (root / "docs" / "devices.md").read_text("utf-8")
    package = Path(inspect.getfile(blueprint)).parent
    templates = package / "templates" / "flask_redis_session"
    sources = {path.name: path.read_text("utf-8") for path in templates.glob("default/*.html")}
    blocks = set(re.findall(r"block (devices_\w+)", "".join(sources.values())))
    blocks.add("devices_style")
    named = set(re.findall(r"`(devices_\w+)`", text)) - {"devices_token"}

    options = text.partition("## Options")[2].partition("\n## ")[0]
    files = re.findall(r"^\| `(\w+\.html)`", text, re.MULTILINE)

    assert list(inspect.signature(blueprint).parameters) == re.findall(
        r"^\| `(\w+)`", options, re.MULTILINE
    )
    assert set() == named - blocks
    assert len(files) == 8
    assert all((templates / name).exists() for name in files)
