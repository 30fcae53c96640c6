"""/healthz: the process answers. /readyz: it serves and its storage can be written to."""

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from acmehub.acme.server.context import HubParts
from acmehub.ports.store import StoreUnavailable


def health_routes(hub: HubParts) -> list[HTTPRouteHandler]:
    """Routes for load balancers and init systems; their answers hold nothing about orders or resources."""

    @get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False, include_in_schema=False)
    def healthz() -> str:
        return "ok\n"

    @get("/readyz", media_type=MediaType.TEXT, include_in_schema=False)
    async def readyz() -> Response[str]:
        if hub.stopping.is_set():
            return Response("stopping\n", status_code=503)
        try:
            await hub.store.ping()
        except StoreUnavailable:
            return Response("the storage cannot be written to; the log says why\n", status_code=503)
        return Response("ready\n")

    return [healthz, readyz]
