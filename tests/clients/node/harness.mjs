// Runs the features of one driver and says how each went: one line of JSON for each, exit code 1 if any surprised.
//
// The login comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, which both drivers read by themselves.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

// Which of several processes this is: it has tables of its own, under the same statement names.
export const worker = Number(process.env.CLIENT_WORKER ?? 0)
// Whether the server is one that refuses by name what needs a session.
const isRefusing = process.env.CLIENT_REFUSES === '1'
const FEATURE_SECONDS = Number(process.env.CLIENT_SECONDS ?? 20)

export function versionOf(packageName) {
  return JSON.parse(readFileSync(new URL(`node_modules/${packageName}/package.json`, import.meta.url))).version
}

// features: { name: async () => detail or nothing }.
export async function run(driver, version, features) {
  say({ driver, version })
  let failures = 0
  for (const [feature, attempt] of Object.entries(features)) {
    try {
      const result = await within(FEATURE_SECONDS, attempt())
      say({ feature, outcome: 'passed', detail: '', ...result })
    } catch (error) {
      failures += 1
      say({ feature, outcome: 'failed', detail: described(error) })
    }
  }
  // Connections that a failed feature left open would keep the process alive.
  process.exit(failures ? 1 : 0)
}

// Uses what needs a session of its own: it works, or is refused by name.
export async function needsSession(use) {
  if (!isRefusing) return use()
  const refusal = await rejection(use())
  assert.equal(refusal.code, '0A000', described(refusal))
  return { outcome: 'refused', detail: `${refusal.code} ${refusal.message}` }
}

// The error that must come; none is a failure.
export async function rejection(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new assert.AssertionError({ message: 'an error was expected, and none came' })
}

export async function rejectsWith(code, promise) {
  const error = await rejection(promise)
  assert.equal(error.code, code, described(error))
  return error
}

export async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20))
}

// The rows of a table `id, label` that each process fills with its own labels.
export function labels(count) {
  return Array.from({ length: count }, (_, id) => ({ id, label: label(id) }))
}

export function label(id) {
  return `${worker}:${id}`
}

function within(seconds, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${seconds} s`)), seconds * 1000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function described(error) {
  const message = String(error?.message ?? error).replaceAll(/\s+/g, ' ')
  return [error?.code, message].filter(Boolean).join(' ').slice(0, 400)
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

// A driver may fail outside of any promise; the feature that waits for it says that no answer came.
process.on('uncaughtException', (error) => process.stderr.write(`uncaught: ${error?.stack ?? error}\n`))
process.on('unhandledRejection', (error) => process.stderr.write(`unhandled: ${error?.stack ?? error}\n`))
