"""`/` leads to the API's documentation."""

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse

DOCS = "/docs"


def lead_to_docs(app: FastAPI) -> None:
    """Adds the route `/`, if there is documentation. The last route: a `/` of yours comes first."""
    if any(getattr(route, "path", None) == DOCS for route in app.routes):
        app.add_route("/", _to_docs, include_in_schema=False)


async def _to_docs(request: Request) -> RedirectResponse:
    return RedirectResponse(request.scope.get("root_path", "") + DOCS)
