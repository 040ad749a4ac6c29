// SPDX-License-Identifier: Apache-2.0
// Jobs with MQTT.js that test_matrix.py does not have: PORT VERSION JOB TOPIC, where JOB is large, unicode or
// properties. Prints "ok", or says what went wrong.
const mqtt = require(process.env.MQTTJS || "mqtt");
const [port, version, job, topic] = process.argv.slice(2);

const payload = job === "large" ? Buffer.alloc(1 << 20, 7) : Buffer.from("hello");
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {protocolVersion: Number(version), reconnectPeriod: 0});
const timer = setTimeout(() => fail("no message came"), 15000);

function fail(what) {
  console.log(`failed: ${what}`);
  process.exit(1);
}

client.on("error", (error) => fail(error.message));
client.on("message", (where, what, packet) => {
  if (where !== topic || !what.equals(payload)) fail("another message came");
  if (job === "properties") {
    const found = packet.properties || {};
    if ((found.userProperties || {}).key !== "value" || found.contentType !== "text/plain" ||
        String(found.correlationData) !== "id") fail("properties are missing");
  }
  clearTimeout(timer);
  console.log("ok");
  process.exit(0);
});
client.on("connect", () => client.subscribe(topic, {qos: 1}, (error) => {
  if (error) fail(error.message);
  const properties = job === "properties"
    ? {userProperties: {key: "value"}, contentType: "text/plain", correlationData: Buffer.from("id")} : undefined;
  client.publish(topic, payload, properties ? {qos: 1, properties} : {qos: 1}, (problem) => problem && fail(problem.message));
}));
