"""Cloudflare's API v4 as its documentation describes it, over real HTTP, strict where the real one is lenient.

Zones and records only: bearer tokens with permissions, pages (short ones, whatever the request says), zones by name,
quoted TXT content, duplicates (81058), unknown ids (404), and scripted answers (429, HTML pages).
"""

import json
import math
import secrets
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

PAGE = 2
PREFIX = "/client/v4/"
ZONE_QUERY = {"name", "status", "page", "per_page"}
RECORD_QUERY = {"type", "name.exact", "content.exact", "content.contains", "page", "per_page"}


@dataclass(frozen=True)
class Canned:
    """An answer to be given instead of the right one."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused(Exception):
    """An error of the API."""

    status: int
    code: int
    message: str
    chain: tuple[tuple[int, str], ...] = ()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the usual 5, connections made at once wait a second for their SYN to be sent again


class FakeCloudflare:
    """The server, in a thread while the context lasts. `zones` maps id to name, `records` id to record."""

    def __init__(self) -> None:
        self.zones: dict[str, dict[str, str]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, set[str]] = {}
        self.canned: deque[Canned] = deque()
        self.requests: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-cloudflare")

    @property
    def base_url(self) -> str:
        """What the plugin's `base_url` must be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PREFIX.rstrip('/')}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_zone(self, name: str, status: str = "active") -> str:
        """A new zone; gives its id."""
        zone_id = secrets.token_hex(16)
        self.zones[zone_id] = {"id": zone_id, "name": name, "status": status}
        return zone_id

    def add_token(self, *permissions: str) -> str:
        """A new API token with `zone:read`, `dns:edit` or both; gives it."""
        token = secrets.token_urlsafe(30)
        self.tokens[token] = set(permissions)
        return token

    def add_record(self, zone_id: str, name: str, content: str, kind: str = "TXT") -> None:
        """Put a record there as it is, quoted or not."""
        record_id = secrets.token_hex(16)
        record = {"id": record_id, "zone_id": zone_id, "name": name, "type": kind, "content": content, "ttl": 1}
        self.records[record_id] = record

    def txt(self, name: str) -> set[str]:
        """The TXT values at `name`, as name servers would give them out."""
        found = [item["content"] for item in self.records.values() if (item["type"], item["name"]) == ("TXT", name)]
        return {content.removeprefix('"').removesuffix('"') for content in found}

    # -------------------------------------------------------------------------------------------------- answers

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Canned:
        """The answer to one request."""
        with self._lock:
            self.requests.append(f"{method} {target}")
            if self.canned:
                return self.canned.popleft()
            try:
                return Canned(200, json.dumps(self._route(method, target, headers, body)))
            except Refused as refused:
                chain = [{"code": code, "message": message} for code, message in refused.chain]
                error = {"code": refused.code, "message": refused.message} | ({"error_chain": chain} if chain else {})
                document = {"success": False, "errors": [error], "messages": [], "result": None}
                return Canned(refused.status, json.dumps(document))

    def _route(self, method: str, target: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        permissions = self._permissions(headers)
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        match [method, *url.path.removeprefix(PREFIX).split("/")]:
            case ["GET", "zones"]:
                return self._list_zones(permissions, query)
            case ["GET", "zones", zone_id, "dns_records"]:
                return self._list_records(permissions, zone_id, query)
            case ["POST", "zones", zone_id, "dns_records"]:
                return self._create(permissions, zone_id, headers, body)
            case ["DELETE", "zones", zone_id, "dns_records", record_id]:
                return self._delete(permissions, zone_id, record_id)
        raise Refused(404, 7003, f"Could not route to {url.path}, perhaps your object identifier is invalid?")

    def _permissions(self, headers: dict[str, str]) -> set[str]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if "x-auth-key" in headers or scheme != "Bearer" or len(token) != 40:
            raise Refused(400, 6003, "Invalid request headers", ((6111, "Invalid format for Authorization header"),))
        if token not in self.tokens:
            raise Refused(403, 9109, "Invalid access token")
        return self.tokens[token]

    def _list_zones(self, permissions: set[str], query: dict[str, str]) -> dict[str, Any]:
        if "zone:read" not in permissions:
            raise Refused(403, 9109, "Unauthorized to access requested resource")
        self._check_query(query, ZONE_QUERY, most=50)
        wanted = [zone for zone in self.zones.values() if query.get("name", zone["name"]) == zone["name"]]
        return self._page(wanted, query)

    def _list_records(self, permissions: set[str], zone_id: str, query: dict[str, str]) -> dict[str, Any]:
        self._check_zone(permissions, zone_id)
        self._check_query(query, RECORD_QUERY, most=5_000_000)
        wanted = [
            record
            for record in self.records.values()
            if record["zone_id"] == zone_id
            and query.get("type", record["type"]) == record["type"]
            and query.get("name.exact", record["name"]) == record["name"]
            and query.get("content.exact", record["content"]).lower() == record["content"].lower()
            and query.get("content.contains", "").lower() in record["content"].lower()
        ]
        return self._page(wanted, query)

    def _create(self, permissions: set[str], zone_id: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        self._check_zone(permissions, zone_id)
        if headers.get("content-type", "").split(";")[0] != "application/json":
            raise Refused(415, 10000, "Content-Type must be application/json")
        record = json.loads(body)
        self._check_record(record, self.zones[zone_id]["name"])
        for known in self.records.values():
            if all(known[part] == record[part] for part in ("name", "type", "content")):
                raise Refused(400, 81058, "An identical record already exists.")
        self.add_record(zone_id, record["name"], record["content"], record["type"])
        return {"success": True, "errors": [], "messages": [], "result": list(self.records.values())[-1]}

    def _delete(self, permissions: set[str], zone_id: str, record_id: str) -> dict[str, Any]:
        self._check_zone(permissions, zone_id)
        if record_id not in self.records:
            raise Refused(404, 81044, "Record does not exist.")
        del self.records[record_id]
        return {"success": True, "errors": [], "messages": [], "result": {"id": record_id}}

    def _check_zone(self, permissions: set[str], zone_id: str) -> None:
        if zone_id not in self.zones:
            raise Refused(404, 7003, "Could not route to the zone, perhaps your object identifier is invalid?")
        if "dns:edit" not in permissions:
            raise Refused(403, 10000, "Authentication error")

    @staticmethod
    def _check_query(query: dict[str, str], known: set[str], most: int) -> None:
        if not query.keys() <= known or not 5 <= int(query.get("per_page", 20)) <= most:
            raise Refused(400, 1004, "DNS Validation Error", ((9000, f"invalid query {query}"),))

    @staticmethod
    def _check_record(record: dict[str, Any], zone: str) -> None:
        reasons = []
        if record.keys() != {"type", "name", "content", "ttl"} or record["type"] != "TXT":
            reasons.append((9000, "members"))
        elif not f".{record['name']}".endswith(f".{zone}"):
            reasons.append((9000, "DNS name is invalid."))
        elif record["ttl"] != 1 and not 60 <= record["ttl"] <= 86400:
            reasons.append((9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic."))
        elif not (record["content"][:1] == record["content"][-1:] == '"' and len(record["content"]) > 2):
            reasons.append((9207, "Content for TXT record must be in quotation marks."))
        if reasons:
            raise Refused(400, 1004, "DNS Validation Error", tuple(reasons))

    @staticmethod
    def _page(items: list[Any], query: dict[str, str]) -> dict[str, Any]:
        page = int(query.get("page", 1))
        shown = items[(page - 1) * PAGE : page * PAGE]
        info = {"page": page, "per_page": PAGE, "count": len(shown), "total_count": len(items)}
        info["total_pages"] = math.ceil(len(items) / PAGE)
        return {"success": True, "errors": [], "messages": [], "result": shown, "result_info": info}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections += 1

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {key.lower(): value for key, value in self.headers.items()}
                answer = fake.answer(self.command, self.path, headers, body)
                content = answer.body.encode()
                self.send_response(answer.status)
                for key, value in ({"Content-Type": "application/json"} | answer.headers).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server finds methods by these names

            def log_message(self, format: str, *args: object) -> None:
                """Tests read `requests` instead."""

        return Handler
