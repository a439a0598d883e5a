// What an application does with the client `etcd3` of npm; the argument is the address.

const assert = require('assert');
const { Etcd3, EtcdLockFailedError, EtcdAuthenticationFailedError, EtcdPermissionDeniedError } = require('etcd3');

async function keys(client) {
  await client.put('k/a').value('1');
  await client.put('k/b').value('2');
  assert.strictEqual(await client.get('k/a').string(), '1');
  assert.strictEqual(await client.get('k/none'), null);
  assert.deepStrictEqual(await client.getAll().prefix('k/').strings(), { 'k/a': '1', 'k/b': '2' });
  assert.deepStrictEqual(await client.getAll().prefix('k/').sort('Key', 'Descend').keys(), ['k/b', 'k/a']);
  assert.strictEqual(await client.getAll().prefix('k/').count(), 2);
  const space = client.namespace('space/');
  await space.put('x').value('y');
  assert.strictEqual(await client.get('space/x').string(), 'y');
  assert.strictEqual((await client.delete().prefix('k/')).deleted, '2');
  await client.delete().all();
}

async function transactions(client) {
  const first = await client.if('t', 'Version', '==', 0).then(client.put('t').value('1')).commit();
  assert.ok(first.succeeded);
  const second = await client.if('t', 'Value', '==', '2').else(client.get('t')).commit();
  assert.ok(!second.succeeded);
  assert.strictEqual(second.responses[0].response_range.kvs[0].value.toString(), '1');
  const transact = (tx) => tx.get('t').string().then((value) => tx.put('t').value(`${value}0`));
  await client.stm().transact(transact);
  assert.strictEqual(await client.get('t').string(), '10');
}

async function leases(client) {
  const lease = client.lease(60);
  await lease.put('leased').value('x');
  await lease.keepaliveOnce();
  assert.strictEqual((await client.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true })).keys.length, 1);
  await lease.revoke();
  assert.strictEqual(await client.get('leased'), null);
}

async function watches(client) {
  const watcher = await client.watch().prefix('w/').create();
  const seen = [];
  const done = new Promise((resolve) => {
    watcher.on('put', (kv) => seen.push(`put ${kv.key} ${kv.value}`));
    watcher.on('delete', (kv) => { seen.push(`delete ${kv.key}`); resolve(); });
  });
  await client.put('w/a').value('1');
  await client.put('other').value('1');
  await client.delete().key('w/a');
  await done;
  assert.deepStrictEqual(seen, ['put w/a 1', 'delete w/a']);
  await watcher.cancel();
}

async function locksAndElections(client) {
  await client.lock('mine').ttl(60).do(async () => {
    await assert.rejects(client.lock('mine').acquire(), EtcdLockFailedError);
  });
  const election = client.election('job', 60);
  const campaign = election.campaign('first');
  await new Promise((resolve, reject) => { campaign.on('elected', resolve); campaign.on('error', reject); });
  assert.strictEqual(await election.leader(), 'first');
  const observer = await election.observe();
  assert.strictEqual(observer.leader(), 'first');
  await campaign.proclaim('second');
  while (observer.leader() !== 'second') {
    await new Promise((resolve) => observer.once('change', resolve));
  }
  await observer.cancel();
  await campaign.resign();
}

async function users(client, hosts) {
  const role = client.role('role');
  await role.create();
  await role.grant({ permission: 'Readwrite', range: client.range({ prefix: 'open/' }) });
  for (const [name, granted] of [['root', 'root'], ['alice', 'role']]) {
    const user = client.user(name);
    await user.create('secret');
    await user.addRole(granted);
  }
  await client.auth.authEnable();
  const root = new Etcd3({ hosts, auth: { username: 'root', password: 'secret' } });
  try {
    const alice = new Etcd3({ hosts, auth: { username: 'alice', password: 'secret' } });
    await alice.put('open/a').value('1');
    assert.strictEqual(await alice.get('open/a').string(), '1');
    await assert.rejects(alice.put('closed').value('1').exec(), EtcdPermissionDeniedError);
    const wrong = new Etcd3({ hosts, auth: { username: 'alice', password: 'wrong' } });
    await assert.rejects(wrong.get('open/a').string(), EtcdAuthenticationFailedError);
    assert.deepStrictEqual((await root.getRoles()).map((role) => role.name), ['role']);
    alice.close();
    wrong.close();
  } finally {
    await root.auth.authDisable();
    root.close();
  }
}

async function main() {
  const hosts = `http://${process.argv[2]}`;
  const client = new Etcd3({ hosts });
  for (const part of [keys, transactions, leases, watches, locksAndElections]) {
    await part(client);
  }
  await users(client, hosts);
  assert.ok((await client.maintenance.status()).version.startsWith('3.'));
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
