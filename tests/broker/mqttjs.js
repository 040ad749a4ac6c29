// SPDX-License-Identifier: Apache-2.0
// MQTT.js against the broker: QoS 0, 1 and 2, what is retained, a will, and a session that is
// resumed after a cut. Each thing done is told by its name.
//
// In Node, for test_matrix.py: node mqttjs.js PACKAGE URL PREFIX VERSION [CAFILE [CERTIFICATE KEY]]
// writes "ok NAME" to stdout; exit status 0, or 1 with a sentence on stderr. In a page, for
// tests/browser: scenario(mqtt, url, prefix, version, options, tell), a promise.
'use strict'

const COUNT = 50

// Resolves with the next `count` messages as [topic, text, packet].
function messages (client, count) {
  return new Promise((resolve) => {
    const got = []
    client.on('message', function listener (topic, payload, packet) {
      got.push([topic, payload.toString(), packet])
      if (got.length === count) {
        client.removeListener('message', listener)
        resolve(got)
      }
    })
  })
}

function must (fits, why) {
  if (!fits) throw new Error(why)
}

async function exchange (client, prefix, qos) {
  const topic = `${prefix}/${qos}`
  const granted = await client.subscribeAsync(topic, { qos })
  must(granted[0].qos === qos, `QoS ${granted[0].qos} was granted`)
  const got = messages(client, COUNT)
  await Promise.all(Array.from({ length: COUNT }, (_, i) => client.publishAsync(topic, `message ${i}`, { qos })));
  (await got).forEach((one, i) => {
    must(one[0] === topic && one[1] === `message ${i}` && one[2].qos === qos && !one[2].retain,
      `message ${i} of QoS ${qos} is ${one[1]}`)
  })
}

async function properties (client, prefix) {
  const answer = messages(client, 1)
  await client.publishAsync(`${prefix}/1`, 'props', {
    qos: 1,
    properties: { responseTopic: 'r', contentType: 'text', userProperties: { a: ['b', 'c'] }, messageExpiryInterval: 60 }
  })
  const props = (await answer)[0][2].properties
  must(props.responseTopic === 'r' && props.contentType === 'text' && props.userProperties.a.length === 2,
    JSON.stringify(props))
}

async function scenario (mqtt, url, prefix, version, options, tell) {
  function connect (more) {
    const all = { protocolVersion: version, reconnectPeriod: 0, resubscribe: false, ...options, ...more }
    if (version === 3) all.protocolId = 'MQIsdp'
    // Not connectAsync: in a page it never ends where the WebSocket is refused.
    const client = mqtt.connect(url, all)
    return new Promise((resolve, reject) => {
      client.once('connect', () => resolve(client))
      client.once('error', reject)
      client.once('close', () => reject(new Error('closed before CONNACK')))
    })
  }

  const client = await connect({
    clientId: `${prefix}js`,
    clean: false,
    keepalive: 5,
    properties: version === 5 ? { sessionExpiryInterval: 100 } : undefined,
    will: { topic: `${prefix}/will`, payload: 'gone', qos: 1, retain: false }
  })
  const watcher = await connect({ clientId: `${prefix}watch` })
  for (const qos of [0, 1, 2]) {
    await exchange(client, prefix, qos)
    tell(`QoS ${qos}`)
  }
  if (version === 5) await properties(client, prefix)

  await client.publishAsync(`${prefix}/kept`, 'kept', { qos: 1, retain: true })
  const kept = messages(watcher, 1)
  await watcher.subscribeAsync(`${prefix}/kept`, { qos: 1 })
  const [[, text, packet]] = await kept
  must(text === 'kept' && packet.retain, 'RETAIN is missing')
  await watcher.unsubscribeAsync(`${prefix}/kept`)
  await client.publishAsync(`${prefix}/kept`, '', { qos: 1, retain: true })
  tell('retained')

  await watcher.subscribeAsync(`${prefix}/will`, { qos: 1 })
  const will = messages(watcher, 1)
  const closed = new Promise((resolve) => client.once('close', resolve))
  client.stream.destroy()
  await closed
  must((await will)[0][1] === 'gone', 'another will')
  tell('will')

  await watcher.publishAsync(`${prefix}/2`, 'while you slept', { qos: 2 })
  const waited = messages(client, 1)
  const connected = new Promise((resolve) => client.once('connect', resolve))
  client.reconnect()
  const connack = await connected
  must(connack.sessionPresent || version === 3, 'no session present')
  must((await waited)[0][1] === 'while you slept', 'another message')
  tell('session')

  await client.endAsync()
  await watcher.endAsync()
}

async function main ([path, url, prefix, version, ca, cert, key]) {
  const { readFileSync } = require('fs')
  const options = {}
  if (ca) options.ca = readFileSync(ca)
  if (key) Object.assign(options, { cert: readFileSync(cert), key: readFileSync(key) })
  await scenario(require(path), url, prefix, Number(version), options, (what) => console.log(`ok ${what}`))
}

if (typeof window === 'undefined') {
  const fail = (why) => {
    console.error(String(why && why.stack ? why.stack : why))
    process.exit(1)
  }
  process.on('unhandledRejection', fail)
  setTimeout(() => fail('no end within 20 seconds'), 20000)
  main(process.argv.slice(2)).then(() => process.exit(0), fail)
}
