"""What an application does with the Python client `etcd3`; the arguments are host and port."""

import sys
import threading

import etcd3


def keys(client):
    client.put("k/a", "1")
    value, metadata = client.get("k/a")
    assert (value, metadata.key, metadata.version) == (b"1", b"k/a", 1)
    assert client.get("k/none") == (None, None)
    client.put("k/b", "2")
    found = [value for value, _ in client.get_prefix("k/", sort_order="descend", sort_target="key")]
    assert found == [b"2", b"1"], found
    assert [value for value, _ in client.get_range("k/a", "k/b")] == [b"1"]
    assert client.put_if_not_exists("k/c", "3") and not client.put_if_not_exists("k/c", "4")
    assert client.replace("k/c", "3", "5") and not client.replace("k/c", "3", "6")
    assert client.delete("k/c") and not client.delete("k/c")
    assert client.delete_prefix("k/").deleted == 2


def transactions(client):
    operations = client.transactions
    succeeded, answers = client.transaction(
        compare=[operations.version("t") == 0, operations.create("t") < 1],
        success=[operations.put("t", "1"), operations.get("t")],
        failure=[operations.delete("t")],
    )
    assert succeeded and answers[1][0][0] == b"1", answers
    succeeded, _ = client.transaction(
        compare=[operations.value("t") == "2"], success=[], failure=[operations.delete("t")]
    )
    assert not succeeded and client.get("t") == (None, None)


def leases(client):
    lease = client.lease(600)
    client.put("leased", "x", lease)
    assert 590 <= lease.remaining_ttl <= 600 and lease.granted_ttl == 600
    assert lease.keys == [b"leased"]
    assert [answer.TTL for answer in lease.refresh()] == [600]
    lease.revoke()
    assert client.get("leased") == (None, None)


def watches(client):
    events, cancel = client.watch_prefix("w/")
    client.put("w/a", "1")
    client.put("other", "1")
    client.delete("w/a")
    first, second = next(events), next(events)
    assert isinstance(first, etcd3.events.PutEvent) and first.value == b"1", first
    assert isinstance(second, etcd3.events.DeleteEvent) and second.key == b"w/a", second
    cancel()
    seen = []
    found = threading.Event()

    def see(response):
        seen.extend(response.events)
        found.set()

    number = client.add_watch_callback("called", see)
    client.put("called", "2")
    assert found.wait(20) and seen[0].value == b"2", seen
    client.cancel_watch(number)
    revision = client.get("called")[1].mod_revision
    events, cancel = client.watch("called", start_revision=revision)
    assert next(events).value == b"2"
    cancel()
    client.compact(revision, physical=True)
    events, cancel = client.watch("called", start_revision=1)
    try:
        next(events)
        raise AssertionError("that revision is gone")
    except etcd3.exceptions.RevisionCompactedError as error:
        assert error.compacted_revision == revision, error


def locks(client, other):
    with client.lock("mine", ttl=60) as lock:
        assert lock.is_acquired()
        assert not other.lock("mine", ttl=60).acquire(timeout=0.2)
    rival = other.lock("mine", ttl=60)
    assert rival.acquire(timeout=20) and rival.release()


def maintenance(client):
    status = client.status()
    assert status.version.startswith("3.") and status.leader.name == "one"
    assert [member.name for member in client.members] == ["one"]
    assert list(client.list_alarms()) == []
    client.defragment()
    assert client.hash() >= 0
    with open("snapshot", "wb") as file:
        client.snapshot(file)
        assert file.tell() % 512 == 32


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client, other = etcd3.client(host=host, port=port), etcd3.client(host=host, port=port)
    for part in (keys, transactions, leases, watches, maintenance):
        part(client)
    locks(client, other)
    client.close()
    other.close()


main()
