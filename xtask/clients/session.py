"""What an application does with the Python client `aetcd`; the arguments are host and port."""

import asyncio
import sys

import aetcd


async def keys(client):
    for number in range(10):
        await client.put(f"k/{number}".encode(), f"v{number}".encode())
    got = await client.get(b"k/3")
    assert got.value == b"v3" and got.version == 1, got
    found = [kv.key async for kv in await_iter(await client.get_prefix(b"k/"))]
    assert found == [f"k/{number}".encode() for number in range(10)], found
    assert await client.replace(b"k/3", b"v3", b"changed")
    assert not await client.replace(b"k/3", b"v3", b"again")
    assert await client.delete(b"k/3")
    assert await client.get(b"k/3") is None
    deleted = await client.delete_prefix(b"k/")
    assert deleted.deleted == 9, deleted


async def await_iter(values):
    for value in values:
        yield value


async def transactions(client):
    await client.put(b"t", b"1")
    succeeded, _ = await client.transaction(
        compare=[client.transactions.value(b"t") == b"1", client.transactions.version(b"t") > 0],
        success=[client.transactions.put(b"t", b"2")],
        failure=[client.transactions.get(b"t")],
    )
    assert succeeded
    assert (await client.get(b"t")).value == b"2"


async def watches(client):
    watch = await client.watch_prefix(b"w/")

    async def write():
        await client.put(b"w/a", b"1")
        await client.delete(b"w/a")

    writing = asyncio.create_task(write())
    kinds = []
    async for event in watch:
        kinds.append(str(event.kind))
        if len(kinds) == 2:
            break
    await writing
    await watch.cancel()
    assert "PUT" in kinds[0].upper() and "DELETE" in kinds[1].upper(), kinds


async def leases(client):
    lease = await client.lease(600)
    await client.put(b"l", b"leased", lease=lease)
    await lease.refresh()
    assert 590 <= await lease.remaining_ttl() <= 600
    assert await lease.keys() == [b"l"]
    await lease.revoke()
    assert await client.get(b"l") is None


async def maintenance(client):
    status = await client.status()
    assert status.version.startswith("3."), status.version
    members = [member async for member in client.members()]
    assert [member.name for member in members] == ["one"], members
    got = await client.get(b"t")
    await client.compact(got.mod_revision)
    await client.defragment()


async def main():
    async with aetcd.Client(host=sys.argv[1], port=int(sys.argv[2])) as client:
        for part in (keys, transactions, watches, leases, maintenance):
            await asyncio.wait_for(part(client), 30)


asyncio.run(main())
