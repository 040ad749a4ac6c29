# SPDX-License-Identifier: Apache-2.0
"""A house: Home Assistant with 20,000 discovery topics, Zigbee2MQTT, Tasmota, Frigate, and TCP probes.
Nothing may be lost, and the log has nothing to warn of."""

import socket

from mqtt import Will, encode

DEVICES = 20000


def discover(bridge, count=DEVICES, qos=0):
    """Zigbee2MQTT's way: one retained configuration for each entity."""
    for start in range(0, count, 500):
        bridge.send(b"".join(encode(bridge.publish_packet(
            f"homeassistant/sensor/0x{i:016x}/state/config",
            '{"name":"sensor %d","state_topic":"zigbee2mqtt/%d","unique_id":"%d"}' % (i, i, i),
            retain=1), 4) for i in range(start, min(start + 500, count))))
    bridge.ping()


def probe(port, count=20):
    """Home Assistant's look whether somebody listens: connect, and go away."""
    for _ in range(count):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_day_in_the_house(run_broker):
    own = run_broker()
    quiet_from = len(own.lines("warning", "error"))
    probe(own.port)
    bridge = own.connect("mqttjs_bridge", 4, keep_alive=60, username="z2m",
                         will=Will("zigbee2mqtt/bridge/state", "offline", 1, 1))
    bridge.publish("zigbee2mqtt/bridge/state", "online", qos=1, retain=1)
    discover(bridge)

    # Home Assistant comes, gets all, and gets all again after its restart.
    for _ in range(2):
        home = own.connect("home-assistant", 4, keep_alive=60,
                           will=Will("homeassistant/status", "offline", 0, 1))
        home.publish("homeassistant/status", "online", retain=1)
        home.send(home.subscribe_packet(("homeassistant/+/+/config", 0), ("homeassistant/+/+/+/config", 0),
                                        ("homeassistant/status", 0), ("zigbee2mqtt/#", 0)))
        home.expect("SUBACK", reasons=[0, 0, 0, 0])
        configs, others = set(), set()
        while len(configs) < DEVICES or len(others) < 2:
            message = home.message(retain=1)
            (configs if message.topic.endswith("/config") else others).add(message.topic)
        home.ping()
        assert not home.inbox
        home.disconnect()

    home = own.connect("home-assistant", 4, keep_alive=60)
    home.subscribe(("zigbee2mqtt/#", 0), ("tele/#", 0), ("frigate/#", 0), ("stat/#", 1))
    assert home.message(retain=1).payload == b"online"

    # Tasmota: pings now and then, a user name that nobody set, a will.
    plugs = []
    for i in range(20):
        plug = own.connect(f"DVES_{i:06X}", 4, keep_alive=10, username="DVES_USER", password="DVES_PASS",
                           will=Will(f"tele/plug{i}/LWT", "Offline", 1, 1))
        plug.publish(f"tele/plug{i}/LWT", "Online", qos=1, retain=1)
        plug.subscribe((f"cmnd/plug{i}/#", 0))
        plugs.append(plug)
    for _ in plugs:
        home.message(payload="Online", retain=0)
    for i, plug in enumerate(plugs):
        home.publish(f"cmnd/plug{i}/POWER", "ON")
        plug.message(payload="ON")
        plug.publish(f"stat/plug{i}/POWER", "ON", qos=1)
        home.message(payload="ON", qos=1)

    # Frigate: pictures.
    frigate = own.connect("frigate", 4, keep_alive=60)
    for size in (100000, 700000, 2000000):
        frigate.publish("frigate/door/person/snapshot", bytes(size), retain=1)
        assert len(home.message().payload) == size

    # The states of all devices, and probes meanwhile.
    for start in range(0, DEVICES, 1000):
        bridge.send(b"".join(encode(bridge.publish_packet(f"zigbee2mqtt/{i}", '{"t":%d}' % i, retain=1), 4)
                             for i in range(start, start + 1000)))
        for i in range(start, start + 1000):
            home.message(topic=f"zigbee2mqtt/{i}", retain=0)
        probe(own.port, 2)
        for plug in plugs:
            plug.ping()

    # Half the plugs are unplugged, the others live on.
    for plug in plugs[:10]:
        plug.close()
    assert {home.message(payload="Offline").topic for _ in range(10)} == \
        {f"tele/plug{i}/LWT" for i in range(10)}
    for plug in plugs[10:]:
        plug.ping()
    for client in plugs[10:] + [home, bridge, frigate]:
        client.disconnect()

    # A newcomer sees the house as it is.
    phone = own.connect("phone", 4)
    phone.subscribe(("tele/+/LWT", 0))
    found = {}
    for _ in range(20):
        message = phone.message(retain=1)
        found[message.topic] = message.payload
    assert sorted(found.values()) == 10 * [b"Offline"] + 10 * [b"Online"]
    phone.disconnect()
    probe(own.port)
    warnings = own.lines("warning", "error")[quiet_from:]
    assert not warnings, "\n".join(warnings[:20])


def test_removing_a_device_removes_its_topics(broker, name):
    bridge = broker.connect(version=4)
    for i in range(100):
        bridge.publish(f"{name}/homeassistant/{i}/config", "{}", retain=1, qos=1)
    for i in range(0, 100, 2):
        bridge.publish(f"{name}/homeassistant/{i}/config", "", retain=1, qos=1)
    home = broker.connect(version=4)
    home.subscribe(f"{name}/homeassistant/#")
    assert len({home.message(retain=1).topic for _ in range(50)}) == 50
    home.ping()
    assert not home.inbox


def test_a_sleeping_sensor_gets_its_commands(broker, name):
    """A battery sensor with CleanSession 0 that wakes now and then."""
    home = broker.connect(version=4)
    sensor = broker.connect(f"{name}s", 4, clean=False)
    sensor.subscribe((f"{name}/set/#", 1))
    for round_ in range(5):
        sensor.disconnect()
        home.publish(f"{name}/set/interval", str(round_), qos=1)
        sensor = broker.open(4)
        assert sensor.connect(f"{name}s", clean=False).session_present == 1
        sensor.message(payload=str(round_), qos=1)
