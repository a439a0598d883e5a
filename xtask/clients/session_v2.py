"""What an application does with the Python client `python-etcd`, which speaks the v2 API; the arguments are host and port."""

import sys
import threading
import time

import etcd
import etcd.auth


def expect(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error:
        return
    raise AssertionError(f"{call} {arguments} {named}: no {error}")


def keys(client):
    assert client.write("/k/a", "1").value == "1"
    assert client.read("/k/a").value == "1"
    assert client.get("/k/a").createdIndex == client.get("/k/a").modifiedIndex
    changed = client.set("/k/a", "2")
    assert changed.value == "2" and changed._prev_node.value == "1", changed
    expect(etcd.EtcdKeyNotFound, client.read, "/k/none")
    expect(etcd.EtcdAlreadyExist, client.write, "/k/a", "3", prevExist=False)
    expect(etcd.EtcdKeyNotFound, client.write, "/k/none", "3", prevExist=True)
    assert "/k/a" in client and "/k/none" not in client
    client.delete("/k/a")
    expect(etcd.EtcdKeyNotFound, client.read, "/k/a")


def comparisons(client):
    client.write("/c", "one")
    client.test_and_set("/c", "two", "one")
    expect(etcd.EtcdCompareFailed, client.test_and_set, "/c", "three", "one")
    node = client.read("/c")
    node.value = "three"
    client.update(node)
    stale = client.read("/c")
    client.write("/c", "four")
    stale.value = "five"
    expect(etcd.EtcdCompareFailed, client.update, stale)
    expect(etcd.EtcdCompareFailed, client.delete, "/c", prevValue="x")
    client.delete("/c", prevValue="four")


def directories(client):
    client.write("/d", None, dir=True)
    for name in ("b", "a", "_hidden"):
        client.write(f"/d/{name}", name)
    client.write("/d/e/f", "deep")
    found = sorted(node.key for node in client.read("/d").children)
    assert found == ["/d/a", "/d/b", "/d/e"], found
    leaves = sorted(node.key for node in client.read("/d", recursive=True, sorted=True).leaves)
    assert leaves == ["/d/a", "/d/b", "/d/e/f"], leaves
    expect(etcd.EtcdNotFile, client.write, "/d", "value")
    expect(etcd.EtcdDirNotEmpty, client.delete, "/d", dir=True)
    expect(etcd.EtcdNotFile, client.delete, "/d")
    client.delete("/d", recursive=True)
    first = client.write("/q", "first", append=True)
    second = client.write("/q", "second", append=True)
    assert first.key < second.key and len(second.key) == len("/q/") + 20, second.key
    assert [node.value for node in client.read("/q", sorted=True).children] == ["first", "second"]


def lives(client):
    written = client.write("/t", "x", ttl=1)
    assert written.ttl == 1 and written.expiration.endswith("Z"), written
    client.write("/long", "x", ttl=100)
    renewed = client.refresh("/long", ttl=200)
    assert renewed.ttl == 200 and renewed.value == "x", renewed
    gone = client.watch("/t", index=written.modifiedIndex + 1, timeout=10)
    assert gone.action == "expire", gone


def watches(client, other):
    start = client.write("/w/a", "0").modifiedIndex
    found = []

    def watch():
        for event in other.eternal_watch("/w", recursive=True, index=start + 1):
            found.append((event.key, event.action, event.value))
            if event.key == "/w/end":
                return

    watching = threading.Thread(target=watch)
    watching.start()
    client.write("/w/a", "1")
    client.write("/other", "1")
    client.write("/w/b/c", "2")
    client.delete("/w/a")
    client.write("/w/end", "3")
    watching.join(20)
    expected = [("/w/a", "set", "1"), ("/w/b/c", "set", "2"), ("/w/a", "delete", None), ("/w/end", "set", "3")]
    assert not watching.is_alive() and found == expected, found
    expect(etcd.EtcdWatchTimedOut, client.watch, "/w/silent", timeout=1)


def locks(client, other):
    lock, rival = etcd.Lock(client, "one"), etcd.Lock(other, "one")
    assert lock.acquire(blocking=True, lock_ttl=60)
    assert not rival.acquire(blocking=False, lock_ttl=60)
    waiting = threading.Thread(target=lambda: rival.acquire(blocking=True, lock_ttl=60))
    waiting.start()
    lock.release()
    waiting.join(20)
    assert not waiting.is_alive() and rival.is_acquired
    rival.release()


def cluster(client, address):
    assert client.machines == [f"http://{address}"], client.machines
    assert client.leader["clientURLs"] == [f"http://{address}"]
    assert [member["name"] for member in client.members.values()] == ["one"]
    assert client.stats["state"] == "StateLeader"
    assert client.store_stats["setsSuccess"] > 0
    assert client.leader_stats["followers"] == {}


def users(client, address):
    host, port = address
    role = etcd.auth.EtcdRole(client, "readers")
    role.grant("/open/*", "R")
    role.write()
    for name, password, roles in (("root", "secret", ["root"]), ("alice", "wonder", ["readers"])):
        user = etcd.auth.EtcdUser(client, name)
        user.password = password
        user.write()
        user.roles = roles if name != "root" else user.roles
        if name != "root":
            user.write()
    client.write("/open/a", "1")
    auth = etcd.auth.Auth(client)
    auth.active = True
    try:
        root = etcd.Client(host, port, username="root", password="secret")
        guest = etcd.auth.EtcdRole(root, "guest")
        guest.read()
        guest.revoke("/*", "RW")
        guest.write()
        alice = etcd.Client(host, port, username="alice", password="wonder")
        assert alice.read("/open/a").value == "1"
        expect(etcd.EtcdInsufficientPermissions, alice.write, "/open/a", "2")
        expect(etcd.EtcdInsufficientPermissions, etcd.Client(host, port).read, "/open/a")
        wrong = etcd.Client(host, port, username="alice", password="wrong")
        expect(etcd.EtcdInsufficientPermissions, wrong.read, "/open/a")
    finally:
        root = etcd.Client(host, port, username="root", password="secret")
        etcd.auth.Auth(root).active = False
    assert not etcd.auth.Auth(client).active


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client, other = etcd.Client(host, port), etcd.Client(host, port)
    keys(client)
    comparisons(client)
    directories(client)
    lives(client)
    watches(client, other)
    locks(client, other)
    cluster(client, f"{host}:{port}")
    users(client, (host, port))


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"done in {time.monotonic() - started:.1f} s")
