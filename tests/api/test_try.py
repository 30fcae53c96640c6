from tests.api.desk import Desk
import json
async def test_try(desk: Desk) -> None:
    from acmehub.api.operations import OPERATIONS
    for item in OPERATIONS.values():
        if item.method != "GET": continue
        args = [desk.ids.get(n, {"principal":"app","token":"EAB","challenge":"zone","authority":"ca","profile":"short","campaign":"incident","plugin":"ca_acme","entry":1}.get(n)) for n,_ in item.path_arguments]
        a = await desk.ask("GET", item.url(*args).removeprefix("/api/v1"))
        print(item.id, a.status_code, a.text[:200])
        assert a.status_code == 200
    for m,p in (("GET","/nix"),("PUT","/orders"),("POST","/tokens"),("GET","/orders?limt=3"),("GET","/orders?limit=300"),("GET","/orders?after=abc")):
        a = await desk.ask(m,p); print(m,p,a.status_code,a.headers, a.text)
    a = await desk.ask("GET","/orders",as_=None); print(a.status_code,a.headers,a.text)
