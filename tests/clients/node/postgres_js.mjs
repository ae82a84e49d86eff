// postgres.js as people use it: tagged templates on a pool, prepared statements and pipelining on, as by default.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { label, labels, needsSession, rejectsWith, run, until, versionOf, worker } from './harness.mjs'

const TABLE = `postgres_js_${worker}`

// A pool for one feature; `options` are postgres.js's own.
async function withPool(use, options = {}) {
  const sql = postgres({ max: 4, onnotice: () => {}, ...options })
  try {
    return await use(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function fill(sql, count) {
  await sql`drop table if exists ${sql(TABLE)}`
  await sql`create table ${sql(TABLE)} (id int primary key, label text)`
  if (count) await sql`insert into ${sql(TABLE)} ${sql(labels(count))}`
}

async function values(sql) {
  const when = new Date('2024-02-29T12:34:56.789Z')
  const [row] = await sql`
    select ${42}::int as i, ${'9007199254740993'}::bigint as b, ${'žluť 🐘'}::text as t, ${true}::bool as o,
      ${when}::timestamptz as w, ${'12345678901234567890.0123456789'}::numeric as n,
      ${sql.json({ a: [1, null], 'ž': 'x' })}::jsonb as j, ${[1, 2, 3]}::int[] as ia,
      ${['a', 'b,"c"']}::text[] as ta, ${null}::text as nothing, ${Buffer.from([0, 255])}::bytea as y`
  assert.deepEqual({ ...row }, {
    i: 42, b: '9007199254740993', t: 'žluť 🐘', o: true, w: when, n: '12345678901234567890.0123456789',
    j: { a: [1, null], 'ž': 'x' }, ia: [1, 2, 3], ta: ['a', 'b,"c"'], nothing: null, y: Buffer.from([0, 255])
  })
}

async function preparedStatements(sql) {
  await fill(sql, 300)
  const answers = []
  for (let id = 0; id < 300; id++) {
    answers.push(
      sql`select label from ${sql(TABLE)} where id = ${id}`.then(([row]) => assert.equal(row.label, label(id))),
      sql`select ${id}::int + ${worker}::int as sum`.then(([row]) => assert.equal(row.sum, id + worker)),
      sql`select id from ${sql(TABLE)} where label = ${label(id)}`.then(([row]) => assert.equal(row.id, id))
    )
  }
  await Promise.all(answers)
  for (let id = 0; id < 100; id++) {
    const [row] = await sql`select label from ${sql(TABLE)} where id = ${id}`
    assert.equal(row.label, label(id))
  }
  return { detail: '1000 of 1000' }
}

async function transactions(sql) {
  await fill(sql, 0)
  await sql.begin(async (tx) => {
    await tx`insert into ${sql(TABLE)} values (1, 'kept')`
    await tx.savepoint((inner) => inner`insert into ${sql(TABLE)} values (2, 'kept too')`)
    await rejectsWith('23505', tx.savepoint((inner) => inner`insert into ${sql(TABLE)} values (1, 'again')`))
  })
  const leaving = new Error('leaving')
  await assert.rejects(sql.begin(async (tx) => {
    await tx`insert into ${sql(TABLE)} values (3, 'undone')`
    throw leaving
  }), leaving)
  await Promise.all(Array.from({ length: 40 }, (_, n) => sql.begin('isolation level repeatable read', async (tx) => {
    await tx`insert into ${sql(TABLE)} values (${100 + n}, ${'n' + n})`
    const [row] = await tx`select label, current_setting('transaction_isolation') as level
      from ${sql(TABLE)} where id = ${100 + n}`
    assert.deepEqual({ ...row }, { label: `n${n}`, level: 'repeatable read' })
  })))
  const rows = await sql`select id from ${sql(TABLE)} order by id`
  assert.deepEqual(rows.map((row) => row.id), [1, 2, ...Array.from({ length: 40 }, (_, n) => 100 + n)])
}

async function errors(sql) {
  await fill(sql, 3)
  for (let round = 0; round < 5; round++) {
    await rejectsWith('22012', sql`select 1 / ${0}::int`)
    await rejectsWith('42601', sql`selec ${1}`)
    await rejectsWith('42P01', sql`select * from missing_table where id = ${1}`)
    await rejectsWith('23505', sql.begin(async (tx) => {
      await tx`update ${sql(TABLE)} set label = 'changed' where id = ${1}`
      await tx`insert into ${sql(TABLE)} values (${1}, 'again')`
    }))
    const [row] = await sql`select label from ${sql(TABLE)} where id = ${1}`
    assert.equal(row.label, label(1))
  }
}

async function batch(sql) {
  await fill(sql, 0)
  await sql.begin((tx) => labels(100).map((row) => tx`insert into ${sql(TABLE)} ${sql(row)}`))
  await withPool(async (one) => {
    const burst = labels(100).map(({ id }) => one`select label from ${sql(TABLE)} where id = ${id}`)
    const rows = await Promise.all(burst)
    assert.deepEqual(rows.map(([row]) => row.label), labels(100).map((row) => row.label))
    const mixed = await Promise.allSettled([
      one`select ${1}::int as x`, one`select 1 / ${0}::int as x`, one`select ${2}::int as x`, one.unsafe('select 3 as x')
    ])
    assert.deepEqual(mixed.map((one) => one.value?.[0].x ?? one.reason.code), [1, '22012', 2, 3])
  }, { max: 1 })
  const several = await sql.unsafe('select 1 as a; select 2 as b')
  assert.deepEqual(several.map(([row]) => ({ ...row })), [{ a: 1 }, { b: 2 }])
}

async function cursor(sql) {
  const found = []
  for await (const rows of sql`select g from generate_series(1, ${1000}::int) g`.cursor(64)) {
    found.push(...rows.map((row) => row.g))
  }
  assert.deepEqual(found, Array.from({ length: 1000 }, (_, n) => n + 1))
  for await (const [row] of sql`select g from generate_series(1, ${1000}::int) g`.cursor(10)) {
    if (row.g > 20) break
  }
  const [row] = await sql`select ${7}::int as seven`
  assert.equal(row.seven, 7)
}

async function copy(sql) {
  await fill(sql, 0)
  const lines = labels(5000).map((row) => `${row.id}\t${row.label}\n`)
  await pipeline(Readable.from(lines), await sql`copy ${sql(TABLE)} from stdin`.writable())
  const [{ count }] = await sql`select count(*)::int from ${sql(TABLE)}`
  assert.equal(count, 5000)
  let text = ''
  for await (const chunk of await sql`copy (select * from ${sql(TABLE)} order by id) to stdout`.readable()) text += chunk
  assert.equal(text, lines.join(''))
}

async function schemaChange(sql) {
  await withPool(async (one) => {
    await fill(sql, 2)
    const select = () => one`select * from ${sql(TABLE)} where id = ${1}`.then(([row]) => ({ ...row }))
    assert.deepEqual(await select(), { id: 1, label: label(1) })
    await sql`alter table ${sql(TABLE)} add column more int default 5`
    assert.deepEqual(await select(), { id: 1, label: label(1), more: 5 })
    await sql`alter table ${sql(TABLE)} alter column more type text using '5005'`
    assert.deepEqual(await select(), { id: 1, label: label(1), more: '5005' })
    await sql`alter table ${sql(TABLE)} drop column label`
    assert.deepEqual(await select(), { id: 1, more: '5005' })
  }, { max: 1 })
}

async function cancellation(sql) {
  const text = `select pg_sleep(60), 'postgres.js ${worker}'`
  const sleeping = sql.unsafe(text)
  const ended = rejectsWith('57014', sleeping)
  await until(async () => {
    const [{ running }] = await sql`
      select count(*)::int as running from pg_stat_activity where query = ${text} and state = 'active'`
    return running === 1
  })
  await sleeping.cancel()
  await ended
  const [row] = await sql`select ${8}::int as eight`
  assert.equal(row.eight, 8)
}

async function settingsAtConnect(sql) {
  await sql`create schema if not exists ${sql(TABLE + '_schema')}`
  const connection = {
    application_name: `app ${worker}`, search_path: `${TABLE}_schema, public`, statement_timeout: 700, work_mem: '7MB'
  }
  await withPool(async (set) => {
    for (let round = 0; round < 20; round++) {
      const rows = await Promise.all([1, 2, 3, 4].map((n) => set`select ${n}::int as n, current_schema() as schema,
        current_setting('statement_timeout') as timeout, current_setting('application_name') as name,
        current_setting('work_mem') as memory`))
      assert.deepEqual(rows.map(([row]) => ({ ...row })), [1, 2, 3, 4].map((n) => (
        { n, schema: `${TABLE}_schema`, timeout: '700ms', name: `app ${worker}`, memory: '7MB' })))
    }
    await rejectsWith('57014', set`select pg_sleep(${30})`)
  }, { connection })
  const [row] = await sql`select current_setting('statement_timeout') as timeout, current_setting('work_mem') as memory`
  assert.deepEqual({ ...row }, { timeout: '0', memory: '4MB' })
}

async function settingsLater(sql) {
  const [one, other] = [await sql.reserve(), await sql.reserve()]
  await one`set work_mem = '9MB'`
  await one`select set_config('app.worker', ${String(worker)}, false)`
  for (let round = 0; round < 30; round++) {
    const [mine] = await one`select current_setting('work_mem') as memory, current_setting('app.worker') as worker`
    assert.deepEqual({ ...mine }, { memory: '9MB', worker: String(worker) })
    const [theirs] = await other`select current_setting('work_mem') as memory`
    assert.equal(theirs.memory, '4MB')
  }
  await one`reset work_mem`
  const [reset] = await one`show work_mem`
  assert.equal(reset.work_mem, '4MB')
  one.release()
  other.release()
}

async function listen(sql) {
  return needsSession(async () => {
    let heard
    const came = new Promise((resolve) => (heard = resolve))
    const { unlisten } = await sql.listen(`channel_${worker}`, heard)
    await sql.notify(`channel_${worker}`, 'hello')
    assert.equal(await came, 'hello')
    await unlisten()
  })
}

async function advisoryLock(sql) {
  const one = await sql.reserve()
  return needsSession(async () => {
    await one`select pg_advisory_lock(${1000 + worker})`
    const [row] = await one`select pg_advisory_unlock(${1000 + worker}) as held`
    assert.equal(row.held, true)
  })
}

async function temporaryTable(sql) {
  const one = await sql.reserve()
  return needsSession(async () => {
    await one`create temp table things (a int)`
    await one`insert into things values (${worker})`
    const [row] = await one`select a from things`
    assert.equal(row.a, worker)
  })
}

const features = {
  values, 'prepared statements': preparedStatements, transactions, errors, batch, cursor, COPY: copy,
  'schema change': schemaChange, cancellation, 'settings at connect': settingsAtConnect, SET: settingsLater,
  LISTEN: listen, 'advisory lock': advisoryLock, 'temporary table': temporaryTable
}
await run('postgres.js', versionOf('postgres'), Object.fromEntries(
  Object.entries(features).map(([name, feature]) => [name, () => withPool(feature)])
))
