// node-postgres as people use it: a Pool, named and unnamed queries, streams; and its pipelining, which is an option.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import QueryStream from 'pg-query-stream'
import { label, labels, needsSession, rejectsWith, run, until, versionOf, worker } from './harness.mjs'

const TABLE = `node_postgres_${worker}`

// A pool for one feature; `options` are node-postgres's own.
async function withPool(use, options = {}) {
  const pool = new pg.Pool({ max: 4, ...options })
  pool.on('error', () => {})
  try {
    return await use(pool)
  } finally {
    // Not awaited: it waits for clients that a failed feature did not give back.
    pool.end()
  }
}

// A client of the pool's, in whose middle an error may end the feature.
async function withClient(pool, use) {
  const client = await pool.connect()
  try {
    return await use(client)
  } finally {
    client.release()
  }
}

async function fill(pool, count) {
  await pool.query(`drop table if exists ${TABLE}`)
  await pool.query(`create table ${TABLE} (id int primary key, label text)`)
  await pool.query(`insert into ${TABLE} select g, $1 || ':' || g from generate_series(0, $2::int - 1) g`, [worker, count])
}

// Names that every process uses for texts of its own.
const byId = (id) => ({ name: 'by-id', text: `select label from ${TABLE} where id = $1`, values: [id] })
const sum = (id) => ({ name: 'sum', text: `select $1::int + ${worker} as sum`, values: [id] })

async function values(pool) {
  const when = new Date('2024-02-29T12:34:56.789Z')
  const text = `select $1::int as i, $2::bigint as b, $3::text as t, $4::bool as o, $5::timestamptz as w,
    $6::numeric as n, $7::jsonb as j, $8::int[] as ia, $9::text[] as ta, $10::text as nothing, $11::bytea as y`
  const given = [42, '9007199254740993', 'žluť 🐘', true, when, '12345678901234567890.0123456789',
    { a: [1, null], 'ž': 'x' }, [1, 2, 3], ['a', 'b,"c"', null], null, Buffer.from([0, 255])]
  for (const name of [undefined, 'values', 'values']) {
    const { rows } = await pool.query({ name, text, values: given, rowMode: 'array' })
    assert.deepEqual(rows, [given])
  }
}

async function preparedStatements(pool) {
  await fill(pool, 300)
  const answers = []
  for (let id = 0; id < 300; id++) {
    answers.push(
      pool.query(byId(id)).then(({ rows }) => assert.equal(rows[0].label, label(id))),
      pool.query(sum(id)).then(({ rows }) => assert.equal(rows[0].sum, id + worker)),
      pool.query(`select id from ${TABLE} where label = $1`, [label(id)]).then(({ rows }) => assert.equal(rows[0].id, id))
    )
  }
  await Promise.all(answers)
  return { detail: '900 of 900' }
}

async function transactions(pool) {
  await fill(pool, 0)
  await withClient(pool, async (client) => {
    await client.query('begin')
    await client.query(`insert into ${TABLE} values (1, 'kept')`)
    await client.query('savepoint s')
    await rejectsWith('23505', client.query(`insert into ${TABLE} values ($1, 'again')`, [1]))
    await rejectsWith('25P02', client.query('select 1'))
    await client.query('rollback to s')
    await client.query(`insert into ${TABLE} values ($1, 'kept too')`, [2])
    await client.query('commit')
    await client.query('begin')
    await client.query(`insert into ${TABLE} values (3, 'undone')`)
    await client.query('rollback')
  })
  await Promise.all(Array.from({ length: 40 }, (_, n) => withClient(pool, async (client) => {
    await client.query('begin isolation level repeatable read')
    await client.query({ name: 'add', text: `insert into ${TABLE} values ($1, $2)`, values: [100 + n, label(100 + n)] })
    assert.equal((await client.query(byId(100 + n))).rows[0].label, label(100 + n))
    const { rows } = await client.query('show transaction_isolation')
    assert.equal(rows[0].transaction_isolation, 'repeatable read')
    await client.query('commit')
  })))
  const { rows } = await pool.query(`select id from ${TABLE} order by id`)
  assert.deepEqual(rows.map((row) => row.id), [1, 2, ...Array.from({ length: 40 }, (_, n) => 100 + n)])
}

async function errors(pool) {
  await fill(pool, 3)
  for (let round = 0; round < 5; round++) {
    await rejectsWith('22012', pool.query({ name: 'divide', text: 'select 1 / $1::int', values: [0] }))
    await rejectsWith('42601', pool.query({ name: 'wrong', text: 'selec $1', values: [0] }))
    await rejectsWith('42P01', pool.query('select * from missing_table'))
    await withClient(pool, async (client) => {
      await client.query('begin')
      await client.query(`update ${TABLE} set label = 'changed' where id = $1`, [1])
      await rejectsWith('23505', client.query(`insert into ${TABLE} values ($1, 'again')`, [1]))
      await rejectsWith('25P02', client.query(byId(1)))
      const { command } = await client.query('commit')
      assert.equal(command, 'ROLLBACK')
    })
    assert.equal((await pool.query(byId(1))).rows[0].label, label(1))
  }
}

async function batch(pool) {
  await fill(pool, 100)
  const several = await pool.query('select 1 as a; select 2 as b')
  assert.deepEqual(several.map(({ rows }) => rows), [[{ a: 1 }], [{ b: 2 }]])
  const client = new pg.Client({ pipeline: true })
  await client.connect()
  try {
    const burst = await Promise.all(labels(100).flatMap(({ id }) => [client.query(byId(id)), client.query(sum(id))]))
    assert.deepEqual(burst.map(({ rows }) => rows[0].label ?? rows[0].sum),
      labels(100).flatMap(({ id }) => [label(id), id + worker]))
    const mixed = await Promise.allSettled([
      client.query('begin'), client.query(`update ${TABLE} set label = 'changed' where id = $1`, [1]),
      client.query('select 5 as five'), client.query('rollback'), client.query('select 1 / $1::int', [0]),
      client.query(byId(1))
    ])
    assert.deepEqual(mixed.map(({ value, reason }) => value?.command ?? reason.code),
      ['BEGIN', 'UPDATE', 'SELECT', 'ROLLBACK', '22012', 'SELECT'])
    assert.equal(mixed[5].value.rows[0].label, label(1))
  } finally {
    client.end()
  }
}

async function cursor(pool) {
  await withClient(pool, async (client) => {
    const found = []
    const stream = client.query(new QueryStream('select g from generate_series(1, $1::int) g', [1000], { batchSize: 64 }))
    for await (const row of stream) found.push(row.g)
    assert.deepEqual(found, Array.from({ length: 1000 }, (_, n) => n + 1))
    await client.query('begin')
    for await (const row of client.query(new QueryStream('select g from generate_series(1, 1000) g', [], { batchSize: 9 }))) {
      if (row.g > 20) break
    }
    assert.equal((await client.query('select $1::int as seven', [7])).rows[0].seven, 7)
    await client.query('commit')
  })
}

async function copy(pool) {
  await fill(pool, 0)
  const lines = labels(5000).map((row) => `${row.id}\t${row.label}\n`)
  await withClient(pool, async (client) => {
    await pipeline(Readable.from(lines), client.query(copyFrom(`copy ${TABLE} from stdin`)))
    assert.equal((await client.query(`select count(*)::int from ${TABLE}`)).rows[0].count, 5000)
    const chunks = []
    for await (const chunk of client.query(copyTo(`copy (select * from ${TABLE} order by id) to stdout`))) chunks.push(chunk)
    assert.equal(Buffer.concat(chunks).toString(), lines.join(''))
  })
}

// The driver asks for the columns at each execution: the rows are right, or the server says that they changed.
async function schemaChange(pool) {
  await fill(pool, 2)
  const said = []
  await withClient(pool, async (client) => {
    const select = { name: 'all', text: `select * from ${TABLE} where id = $1`, values: [1] }
    const holds = async (expected) => {
      try {
        assert.deepEqual((await client.query(select)).rows, [expected])
        said.push('the new rows')
      } catch (error) {
        if (error.code !== '0A000') throw error
        said.push(`${error.code} ${error.message}`)
      }
    }
    assert.deepEqual((await client.query(select)).rows, [{ id: 1, label: label(1) }])
    await pool.query(`alter table ${TABLE} add column more int default 5`)
    await holds({ id: 1, label: label(1), more: 5 })
    await pool.query(`alter table ${TABLE} alter column more type text using '5005'`)
    await holds({ id: 1, label: label(1), more: '5005' })
    await pool.query(`alter table ${TABLE} drop column label`)
    await holds({ id: 1, more: '5005' })
  })
  return { detail: said.at(-1) }
}

async function cancellation(pool) {
  const text = `select pg_sleep(60), 'node-postgres ${worker}'`
  await withClient(pool, async (client) => {
    const query = new pg.Query(text)
    const cancelled = rejectsWith('57014', new Promise((resolve, reject) => {
      query.callback = (error, result) => (error ? reject(error) : resolve(result))
    }))
    client.query(query)
    await until(async () => {
      const { rows } = await pool.query(
        `select count(*)::int as running from pg_stat_activity where query = $1 and state = 'active'`, [text])
      return rows[0].running === 1
    })
    new pg.Client().cancel(client, query)
    await cancelled
    assert.equal((await client.query('select $1::int as eight', [8])).rows[0].eight, 8)
  })
}

async function settingsAtConnect(pool) {
  await pool.query(`create schema if not exists ${TABLE}_schema`)
  const options = {
    application_name: `app ${worker}`, statement_timeout: 700, options: `-c search_path=${TABLE}_schema,public -c work_mem=7MB`
  }
  const text = `select $1::int as n, current_schema() as schema, current_setting('statement_timeout') as timeout,
    current_setting('application_name') as name, current_setting('work_mem') as memory`
  await withPool(async (set) => {
    for (let round = 0; round < 20; round++) {
      const results = await Promise.all([1, 2, 3, 4].map((n) => set.query({ name: 'settings', text, values: [n] })))
      assert.deepEqual(results.map(({ rows }) => rows[0]), [1, 2, 3, 4].map((n) => (
        { n, schema: `${TABLE}_schema`, timeout: '700ms', name: `app ${worker}`, memory: '7MB' })))
    }
    await rejectsWith('57014', set.query('select pg_sleep($1)', [30]))
  }, options)
  const { rows } = await pool.query(`select current_setting('statement_timeout') as timeout, current_setting('work_mem') as memory`)
  assert.deepEqual(rows[0], { timeout: '0', memory: '4MB' })
}

async function settingsLater(pool) {
  await withClient(pool, (one) => withClient(pool, async (other) => {
    await one.query(`set work_mem = '9MB'`)
    await one.query(`select set_config('app.worker', $1, false)`, [String(worker)])
    const settings = { name: 's', text: `select current_setting('work_mem') as memory, current_setting('app.worker') as worker` }
    for (let round = 0; round < 30; round++) {
      assert.deepEqual((await one.query(settings)).rows, [{ memory: '9MB', worker: String(worker) }])
      assert.equal((await one.query('show work_mem')).rows[0].work_mem, '9MB')
      assert.equal((await other.query('show work_mem')).rows[0].work_mem, '4MB')
    }
    await one.query('reset work_mem')
    assert.equal((await one.query('show work_mem')).rows[0].work_mem, '4MB')
  }))
}

async function listen(pool) {
  return withClient(pool, (client) => needsSession(async () => {
    const came = new Promise((resolve) => client.once('notification', resolve))
    await client.query(`listen channel_${worker}`)
    await pool.query(`select pg_notify('channel_${worker}', 'hello')`)
    assert.equal((await came).payload, 'hello')
    await client.query('unlisten *')
  }))
}

async function advisoryLock(pool) {
  return withClient(pool, (client) => needsSession(async () => {
    await client.query('select pg_advisory_lock($1)', [2000 + worker])
    const { rows } = await client.query('select pg_advisory_unlock($1) as held', [2000 + worker])
    assert.equal(rows[0].held, true)
  }))
}

async function temporaryTable(pool) {
  return withClient(pool, (client) => needsSession(async () => {
    await client.query('create temp table things (a int)')
    await client.query('insert into things values ($1)', [worker])
    assert.equal((await client.query('select a from things')).rows[0].a, worker)
  }))
}

const features = {
  values, 'prepared statements': preparedStatements, transactions, errors, batch, cursor, COPY: copy,
  'schema change': schemaChange, cancellation, 'settings at connect': settingsAtConnect, SET: settingsLater,
  LISTEN: listen, 'advisory lock': advisoryLock, 'temporary table': temporaryTable
}
await run('node-postgres', versionOf('pg'), Object.fromEntries(
  Object.entries(features).map(([name, feature]) => [name, () => withPool(feature)])
))
