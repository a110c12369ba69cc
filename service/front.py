"""A door of its own for the guarded routes: they need nothing that the framework does between socket and endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class Front:
    """ASGI middleware that hands requests for some paths straight to their endpoints.

    The same routes stand in the framework's router, for its OpenAPI page and for other methods.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], Endpoint]) -> None:
        """Stand before an application.

        Args:
            routes: (method, path) → endpoint.
        """
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is ours; hand on the rest."""
        endpoint = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
