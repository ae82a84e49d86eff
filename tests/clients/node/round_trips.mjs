// One operation of postgres.js, done once for each line of standard input, for `python -m bench roundtrips`.
// Each is answered by a line: `done`, or the error's name and code.
//
// The login comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE; CLIENT_PREPARES=0 is for `prepare: false`.

import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import postgres from 'postgres'

const COUNT = 100
const prepare = process.env.CLIENT_PREPARES !== '0'
// As the other drivers do, it asks whether the server has TLS: a pooler that is not on the same machine has.
const options = { max: 1, ssl: 'prefer', prepare, onnotice: () => {} }

let number = 10

async function fetch(sql) {
  const [row] = await sql`select ${1}::int + 1 as n`
  assert.equal(row.n, 2)
}

// A template that nobody has written before.
function fresh(...parts) {
  return Object.assign(parts, { raw: parts })
}

async function firstFetch(sql) {
  number += 1
  const [row] = await sql(fresh('select ', `::int + ${number} as n`), 1)
  assert.equal(row.n, number + 1)
}

async function rowsOf(sql, name) {
  const values = Array.from({ length: COUNT }, (_, at) => [String(at)])
  const query = sql(fresh(`select count(*)::int as ${name} from (values `, ') as t (n)'), sql(values))
  const [row] = await query
  assert.equal(row[name], COUNT)
}

const inTransaction = (queries) => (sql) =>
  sql.begin(async (sql) => {
    for (let at = 0; at < queries; at += 1) await fetch(sql)
  })

const operations = {
  fetch,
  firstFetch,
  transaction: inTransaction(1),
  transactionOf3: inTransaction(3),
  emptyTransaction: inTransaction(0),
  atOnce: (sql) => Promise.all([fetch(sql), fetch(sql), fetch(sql)]),
  transactionAtOnce: (sql) => sql.begin((sql) => Promise.all([fetch(sql), fetch(sql), fetch(sql)])),
  rows: (sql) => rowsOf(sql, 'n'),
  firstRows: (sql) => rowsOf(sql, `n${(number += 1)}`),
  cursor: (sql) =>
    sql.begin(async (sql) => {
      let count = 0
      for await (const rows of sql`select generate_series(1, 100) as n`.cursor(50)) count += rows.length
      assert.equal(count, COUNT)
    }),
  reserve: async (sql) => {
    const reserved = await sql.reserve()
    await fetch(reserved)
    reserved.release()
  },
  connect: async () => {
    const sql = postgres(options)
    await fetch(sql)
    await sql.end()
  }
}

const operation = operations[process.argv[2]]
assert.ok(operation, `no operation is called ${process.argv[2]}`)
const sql = postgres(options)
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    await operation(sql)
    process.stdout.write('done\n')
  } catch (error) {
    process.stdout.write([error.name, error.code].filter(Boolean).join(' ') + '\n')
  }
}
await sql.end({ timeout: 1 })
