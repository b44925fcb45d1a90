"""A real SCIM client: `check` runs the compliance checks of scim2-tester, `fill` provisions a company."""
import concurrent.futures
import json
import sys
import time

import httpx2 as httpx
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def http(url, token):
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def check(url, token):
    results = check_server(SyncSCIMClient(http(url, token)))
    counted = {}
    for result in results:
        counted[result.status.name] = counted.get(result.status.name, 0) + 1
    bad = [r for r in results if r.status in (Status.ERROR, Status.CRITICAL)]
    print(json.dumps({"counted": counted, "bad": [{"title": r.title, "reason": r.reason} for r in bad]}))


def fill(url, token, users, groups):
    """Everybody comes, everything is renamed, half of the people are switched off, and all go."""
    users, groups = int(users), int(groups)
    pool = concurrent.futures.ThreadPoolExecutor(4)
    client = http(url, token)
    seconds = {}

    def step(name, call, items):
        started = time.monotonic()
        answers = list(pool.map(call, items))
        seconds[name] = round(time.monotonic() - started, 1)
        for answer in answers:
            assert answer.status_code < 300, f"{name}: {answer.status_code} {answer.text}"
        return answers

    def change(kind, id, path, value):
        operations = [{"op": "replace", "path": path, "value": value}]
        return client.patch(f"/{kind}/{id}", json={"schemas": [PATCH], "Operations": operations})

    def total(kind, filter=None):
        answer = client.get(f"/{kind}", params={"count": 1, "excludedAttributes": "members", **({"filter": filter} if filter else {})})
        assert answer.status_code == 200, answer.text
        return answer.json()["totalResults"]

    before = total("Users"), total("Groups")
    people = step("people come", lambda n: client.post("/Users", json={
        "schemas": [USER], "userName": f"person{n}@fill.example", "externalId": f"x{n}", "active": True,
        "name": {"givenName": f"Person {n}", "familyName": "Fill"},
        "emails": [{"value": f"person{n}@fill.example", "type": "work", "primary": True}],
    }), range(users))
    ids = [answer.json()["id"] for answer in people]
    made = step("groups come", lambda n: client.post("/Groups", json={
        "schemas": [GROUP], "displayName": f"fill-{n}", "members": [{"value": id} for id in ids[n::groups]],
    }), range(groups))
    group_ids = [answer.json()["id"] for answer in made]
    assert total("Users") == before[0] + users and total("Groups") == before[1] + groups

    def page(start):
        return client.get("/Users", params={"startIndex": start, "count": 200, "filter": 'userName ew "@fill.example"', "attributes": "userName"})

    first = page(1).json()
    assert first["totalResults"] == users and first["itemsPerPage"] == min(users, 200), first
    step("found by name", lambda n: client.get("/Users", params={"filter": f'userName eq "PERSON{n}@fill.example"'}), range(0, users, 10))
    step("people renamed", lambda id: change("Users", id, "name.familyName", "Renamed"), ids)
    step("groups renamed", lambda n: change("Groups", group_ids[n], "displayName", f"renamed-{n}"), range(groups))
    assert total("Groups", 'displayName sw "renamed-"') == groups
    sample = client.get(f"/Users/{ids[0]}").json()
    assert sample["groups"][0]["display"] == "renamed-0" and sample["name"]["familyName"] == "Renamed", sample
    step("members leave", lambda n: client.patch(f"/Groups/{group_ids[n % groups]}", json={
        "schemas": [PATCH], "Operations": [{"op": "remove", "path": f'members[value eq "{ids[n]}"]'}],
    }), range(0, users, 2))
    step("switched off", lambda id: change("Users", id, "active", False), ids[::2])
    assert total("Users", 'active eq false and userName ew "@fill.example"') == len(ids[::2])
    step("people go", lambda id: client.delete(f"/Users/{id}"), ids)
    step("groups go", lambda id: client.delete(f"/Groups/{id}"), group_ids)
    assert (total("Users"), total("Groups")) == before
    print(json.dumps(seconds))


globals()[sys.argv[1]](*sys.argv[2:])
