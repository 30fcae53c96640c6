"""/healthz and /readyz: whether the process answers, and whether it can do its work."""

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from acmehub.acme.server.context import HubParts
from acmehub.ports.store import StoreUnavailable


def health_routes(hub: HubParts) -> list[HTTPRouteHandler]:
    """Routes for a load balancer or an init system; neither says anything about the hub's business."""

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
