"""The ways the frameworks' users mount it: an empty Flask and an empty FastAPI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from fastapi import Response as FastAPIResponse
from flask import Flask
from flask import Response as FlaskResponse
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.routing import Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.testing import notification

from ..receiving import SUCCESS, Shop
from .sending import Request, over_asgi

PAID = notification()
FORGED = notification(key="another-test-key-0123456789abcde")
#: Method, body and content type to status, headers and body.
Send = Callable[..., tuple[int, dict[str, str], bytes]]


def over_flask(app: Flask) -> Send:
    def send(method: str, body: bytes = b"", content_type: str = "text/xml") -> Any:
        response = app.test_client().open("/notify", method=method, data=body, content_type=content_type)
        return response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.get_data()

    return send


def over_loop(app: Any) -> Send:
    def send(method: str, body: bytes = b"", content_type: str = "text/xml") -> Any:
        request = Request((body,), str(len(body)), method, (("content-type", content_type),))
        reply = over_asgi(app, request)
        return reply.status, dict(reply.headers), reply.body

    return send


def flask_view(shop: Shop) -> Send:
    app = Flask("shop")

    @app.post("/notify")
    def notify() -> FlaskResponse:
        reply = shop.receiver.receive(flask_request.get_data(), flask_request.headers)
        return FlaskResponse(reply.body, reply.status, reply.headers)

    return over_flask(app)


def flask_mount(shop: Shop) -> Send:
    app = Flask("shop")
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, {"/notify": WSGIApp(shop.receiver)}
    )
    return over_flask(app)


def fastapi_route(shop: Shop) -> Send:
    app = FastAPI()

    @app.post("/notify")
    async def notify(request: FastAPIRequest) -> FastAPIResponse:
        reply = await shop.receiver.receive_async(await request.body(), request.headers)
        return FastAPIResponse(reply.body, reply.status, dict(reply.headers))

    return over_loop(app)


def fastapi_endpoint(shop: Shop) -> Send:
    app = FastAPI()
    app.add_route("/notify", ASGIApp(shop.receiver))  # type: ignore[arg-type]
    return over_loop(app)


def starlette_endpoint(shop: Shop) -> Send:
    return over_loop(Starlette(routes=[Route("/notify", ASGIApp(shop.receiver))]))


def itself(shop: Shop) -> Send:
    return over_loop(ASGIApp(shop.receiver))


WAYS = [flask_view, flask_mount, fastapi_route, fastapi_endpoint, starlette_endpoint, itself]
mounted_by = pytest.mark.parametrize("mount", WAYS, ids=lambda way: way.__name__)


@mounted_by
def test_a_payment_is_settled_and_its_resend_is_a_duplicate(mount: Callable[[Shop], Send]) -> None:
    shop = Shop()
    send = mount(shop)
    for _ in range(2):
        status, headers, body = send("POST", PAID)
        assert (status, body) == (200, SUCCESS.body)
        assert headers["content-type"] == "text/xml; charset=utf-8"
        assert headers["content-length"] == str(len(body))
    assert [event.code for event in shop.events] == ["handled", "duplicate"]
    assert len(shop.handled) == 1


@mounted_by
def test_a_forgery_is_refused_with_a_document(mount: Callable[[Shop], Send]) -> None:
    status, _, body = mount(Shop())("POST", FORGED)
    assert status == 401
    assert body.startswith(b"<xml><return_code><![CDATA[FAIL]]></return_code>")


@mounted_by
@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json"]
)
def test_no_parser_of_the_framework_gets_at_the_body_first(
    mount: Callable[[Shop], Send], content_type: str
) -> None:
    shop = Shop()
    assert mount(shop)("POST", PAID, content_type)[0] == 200
    assert shop.events[0].code == "handled"


@mounted_by
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_405_and_never_redirected(mount: Callable[[Shop], Send], method: str) -> None:
    shop = Shop()
    status, headers, _ = mount(shop)(method)
    assert status == 405
    assert "POST" in headers["allow"]
    assert "location" not in headers
    assert shop.handled == []
