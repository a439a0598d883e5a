"""What OpenStack does with etcd: `etcd3gw`, which speaks JSON, and `tooz` on top of it; the arguments are host and port."""

import sys
import threading

import etcd3gw
from etcd3gw.exceptions import ConnectionFailedError
from tooz import coordination


def keys(client):
    assert client.put("k/a", "1") and client.put("k/b", "2")
    assert client.get("k/a") == [b"1"]
    assert client.get("k/none") == []
    value, metadata = client.get("k/a", metadata=True)[0]
    assert (value, metadata["key"], metadata["version"]) == (b"1", b"k/a", "1"), metadata
    assert [value for value, _ in client.get_prefix("k/", sort_order="ascend", sort_target="key")] == [b"1", b"2"]
    assert client.create("k/c", "3") and not client.create("k/c", "4")
    assert client.replace("k/c", "3", "5") and not client.replace("k/c", "3", "6")
    assert client.get("k/c") == [b"5"]
    assert client.delete("k/c") and not client.delete("k/c")
    assert client.delete_prefix("k/")
    assert client.get_prefix("k/") == []
    assert client.put("k/d", "6") and b"6" in [value for value, _ in client.get_all()]
    assert client.delete("k/d")


def leases(client):
    lease = client.lease(ttl=600)
    assert 590 <= lease.ttl() <= 600
    client.put("leased", "x", lease=lease)
    assert lease.keys() == [b"leased"]
    assert lease.refresh() == 600
    assert lease.revoke()
    assert client.get("leased") == []


def watches(client):
    events, cancel = client.watch_prefix("w/")
    client.put("w/a", "1")
    client.put("other", "1")
    client.delete("w/a")
    first, second = next(events), next(events)
    assert (first["kv"]["key"], first["kv"]["value"]) == (b"w/a", b"1"), first
    assert (second["kv"]["key"], second["type"]) == (b"w/a", "DELETE"), second
    cancel()
    writing = threading.Timer(0.2, client.put, ("once", "1"))
    writing.start()
    assert client.watch_once("once", timeout=20)["kv"]["value"] == b"1"
    writing.join()


def locks(client, name):
    with client.lock(name, ttl=60) as lock:
        assert lock.is_acquired()
        assert not client.lock(name, ttl=60).acquire()
        assert lock.refresh() == 60
    assert client.lock(name, ttl=60).acquire()


def maintenance(client):
    assert client.status()["version"].startswith("3.")
    assert [member["name"] for member in client.members()] == ["one"]
    try:
        etcd3gw.client(host="127.0.0.1", port=1, api_path="/v3/").status()
    except ConnectionFailedError:
        return
    raise AssertionError("nobody listens there")


def coordinators(host, port):
    """Locks and groups, as services of OpenStack use them."""
    url = f"etcd3+http://{host}:{port}"
    first = coordination.get_coordinator(url, b"first")
    second = coordination.get_coordinator(url, b"second")
    for coordinator in (first, second):
        coordinator.start()
    lock, rival = first.get_lock(b"lock"), second.get_lock(b"lock")
    assert lock.acquire() and not rival.acquire(blocking=False)
    first.heartbeat()
    waiting = threading.Thread(target=rival.acquire)
    waiting.start()
    assert lock.release()
    waiting.join(20)
    assert not waiting.is_alive() and rival.acquired and rival.release()

    first.create_group(b"group").get()
    try:
        second.create_group(b"group").get()
        raise AssertionError("the group is there")
    except coordination.GroupAlreadyExist:
        pass
    seen = []
    first.join_group(b"group", b"able").get()
    first.watch_join_group(b"group", lambda event: seen.append(("joined", event.member_id)))
    first.watch_leave_group(b"group", lambda event: seen.append(("left", event.member_id)))
    first.run_watchers()
    second.join_group(b"group").get()
    first.run_watchers()
    assert set(first.get_members(b"group").get()) == {b"first", b"second"}
    assert second.get_member_capabilities(b"group", b"first").get() == b"able"
    second.update_capabilities(b"group", b"more").get()
    assert first.get_member_capabilities(b"group", b"second").get() == b"more"
    second.leave_group(b"group").get()
    first.run_watchers()
    assert ("joined", b"second") in seen and seen[-1] == ("left", b"second"), seen
    try:
        second.delete_group(b"group").get()
        raise AssertionError("the group has members")
    except coordination.GroupNotEmpty:
        pass
    first.leave_group(b"group").get()
    first.delete_group(b"group").get()
    assert b"group" not in first.get_groups().get()
    for coordinator in (first, second):
        coordinator.stop()


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    # The path of the gateway is found out as the clients do it, and once more for the one that is old.
    for path in (None, "/v3beta/", "/v3/"):
        client = etcd3gw.client(host=host, port=port, api_path=path, timeout=20)
        for part in (keys, leases, watches, maintenance):
            part(client)
        locks(client, f"mine {path}")
    coordinators(host, port)


main()
