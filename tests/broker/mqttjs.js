// SPDX-License-Identifier: Apache-2.0
// MQTT.js against the broker, for test_clients.py. Usage: node mqttjs.js PACKAGE URL PREFIX VERSION.
// Exit status 0, or 1 with a sentence on stderr.
'use strict'
const [, , path, url, prefix, version] = process.argv
const mqtt = require(path)

function fail (why) {
  console.error(String(why && why.stack ? why.stack : why))
  process.exit(1)
}
setTimeout(() => fail('no end within 20 seconds'), 20000)
process.on('unhandledRejection', fail)

function connect (options) {
  const all = { protocolVersion: Number(version), reconnectPeriod: 0, ...options }
  if (Number(version) === 3) all.protocolId = 'MQIsdp'
  return mqtt.connectAsync(url, all)
}

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

async function main () {
  const client = await connect({
    clientId: `${prefix}js`, clean: true, keepalive: 5,
    will: { topic: `${prefix}/will`, payload: Buffer.from('gone'), qos: 1, retain: false }
  })
  const watcher = await connect({ clientId: `${prefix}watch` })
  const granted = await client.subscribeAsync({ [`${prefix}/0`]: { qos: 0 }, [`${prefix}/1`]: { qos: 1 }, [`${prefix}/2`]: { qos: 2 } })
  if (granted.some((one) => one.qos > 2)) fail('a subscription was refused')
  await watcher.subscribeAsync(`${prefix}/will`, { qos: 1 })

  const got = messages(client, 150)
  for (let i = 0; i < 50; i++) {
    await Promise.all([0, 1, 2].map((qos) => client.publishAsync(`${prefix}/${qos}`, `message ${i}`, { qos })))
  }
  for (const qos of [0, 1, 2]) {
    const texts = (await got).filter((one) => one[0] === `${prefix}/${qos}`)
    texts.forEach((one, i) => {
      if (one[1] !== `message ${i}` || one[2].qos !== qos) fail(`message ${i} of QoS ${qos} is ${one[1]}`)
    })
    if (texts.length !== 50) fail(`${texts.length} messages of QoS ${qos}`)
  }

  if (Number(version) === 5) {
    const answer = messages(client, 1)
    await client.publishAsync(`${prefix}/1`, 'props', {
      qos: 1,
      properties: { responseTopic: 'r', correlationData: Buffer.from([0, 1]), userProperties: { a: ['b', 'c'] }, messageExpiryInterval: 60 }
    })
    const props = (await answer)[0][2].properties
    if (props.responseTopic !== 'r' || props.correlationData.length !== 2 || props.userProperties.a.length !== 2) {
      fail(JSON.stringify(props))
    }
  }

  await client.publishAsync(`${prefix}/kept`, 'kept', { qos: 1, retain: true })
  const kept = messages(watcher, 1)
  await watcher.subscribeAsync(`${prefix}/kept`, { qos: 1 })
  if (!(await kept)[0][2].retain) fail('RETAIN is missing')
  await client.publishAsync(`${prefix}/kept`, '', { qos: 1, retain: true })
  await client.unsubscribeAsync(`${prefix}/0`)

  const will = messages(watcher, 1)
  client.stream.destroy()
  if (!(await will).some((one) => one[1] === 'gone' || one[1] === '')) fail('no will')
  await watcher.endAsync()
  process.exit(0)
}

main().catch(fail)
