// SPDX-License-Identifier: Apache-2.0
// SCRAM-SHA-256 with MQTT.js 5 [RFC 5802, RFC 7677]: node login.js URL USER PASSWORD
// Logs in, checks that the broker knows the password too, authenticates again, and leaves.
// MQTT_PACKAGE: where MQTT.js is, if not in node_modules.
'use strict'

const crypto = require('node:crypto')
const mqtt = require(process.env.MQTT_PACKAGE || 'mqtt')

const METHOD = 'SCRAM-SHA-256'

class Scram {
  constructor (user, password) {
    this.password = password
    const name = user.replace(/=/g, '=3D').replace(/,/g, '=2C')
    this.bare = `n=${name},r=${crypto.randomBytes(18).toString('base64')}`
  }

  first () {
    return Buffer.from('n,,' + this.bare)
  }

  final (serverFirst) {
    const given = Object.fromEntries(serverFirst.toString().split(',').map((one) => [one[0], one.slice(2)]))
    const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest()
    const salted = crypto.pbkdf2Sync(this.password, Buffer.from(given.s, 'base64'), Number(given.i), 32, 'sha256')
    const client = hmac(salted, 'Client Key')
    const message = `${this.bare},${serverFirst},c=biws,r=${given.r}`
    const signature = hmac(crypto.createHash('sha256').update(client).digest(), message)
    const proof = Buffer.from(client.map((byte, i) => byte ^ signature[i]))
    this.expected = 'v=' + hmac(hmac(salted, 'Server Key'), message).toString('base64')
    return Buffer.from(`c=biws,r=${given.r},p=${proof.toString('base64')}`)
  }

  proves (serverFinal) {
    return serverFinal && serverFinal.toString() === this.expected
  }
}

const [url, user, password] = process.argv.slice(2)
let scram = new Scram(user, password)
const client = mqtt.connect(url, {
  protocolVersion: 5,
  reconnectPeriod: 0,
  properties: { authenticationMethod: METHOD, authenticationData: scram.first() }
})

function fail (why) {
  console.error(why)
  process.exit(1)
}

// Called for every AUTH: 0x18 asks for the next step, 0x00 ends a re-authentication.
client.handleAuth = (packet, done) => {
  const data = packet.properties.authenticationData
  if (packet.reasonCode === 0) {
    if (!scram.proves(data)) fail('the broker does not know the password')
    console.log('authenticated again')
    done()
    client.end()
    return
  }
  done(null, {
    cmd: 'auth',
    reasonCode: 0x18,
    properties: { authenticationMethod: METHOD, authenticationData: scram.final(data) }
  })
}

client.on('connect', (connack) => {
  if (!scram.proves(connack.properties.authenticationData)) fail('the broker does not know the password')
  console.log('logged in')
  // MQTT.js has no public call for it.
  scram = new Scram(user, password)
  client._sendPacket({
    cmd: 'auth',
    reasonCode: 0x19,
    properties: { authenticationMethod: METHOD, authenticationData: scram.first() }
  })
})
client.on('error', (error) => fail(error.message))
