# SPDX-License-Identifier: Apache-2.0
"""A configuration full of mistakes: every line that `avocet -t` says about mistakes.yaml."""

import pathlib
import shutil

HERE = pathlib.Path(__file__).resolve().parent
SAID = '''\
mistakes.yaml:3:10: include: conf.d/nothing.yaml does not exist or cannot be read
mistakes.yaml:5:12: broker.workers: "lots" must be a whole number, or auto
mistakes.yaml:6:3: broker: unknown key "sys_intervall"; did you mean sys_interval?
mistakes.yaml:7:15: broker.max_memory: "2GB" must be a size: a number of bytes, or with KiB, MiB or GiB, or auto
mistakes.yaml:8:9: broker.user: must be a value, not a sequence
mistakes.yaml:10:10: log.level: "loud" must be error, warning, info or debug
mistakes.yaml:12:12: limits.max_qos: "3" must be from 0 to 2
mistakes.yaml:13:20: limits.connect_timeout: "10 parsecs" must be a duration: a number with ms, s, m, h or d
mistakes.yaml:14:21: limits.retain_available: "perhaps" must be true or false
mistakes.yaml:15:3: the key "max_qos" stands twice, first in line 12
mistakes.yaml:16:19: the environment variable AVOCET_NOT_SET is not set
mistakes.yaml:17:25: nowhere.txt cannot be read: No such file or directory
mistakes.yaml:20:11: listeners[0].bind: the port must be a number from 0 to 65535
mistakes.yaml:22:18: listeners[1].mount_point: the topic name contains a wildcard
mistakes.yaml:24:15: listeners[2].protocol: "coap" must be mqtt or websocket
mistakes.yaml:26:22: listeners[3].tls.certfile: cannot read nowhere.pem: No such file or directory
mistakes.yaml:28:47: listeners[4].tls.min_version: "1.1" must be 1.2 or 1.3
mistakes.yaml:30:33: listeners[5].tls.require_certificate: needs a certfile (or psk)
mistakes.yaml:32:15: listeners[6].limits: unknown key "max_packet_sise"; did you mean max_packet_size?
mistakes.yaml:34:32: listeners[7].protocol_versions[1]: "6" must be 3.1, 3.1.1 or 5.0
mistakes.yaml:36:11: listeners[8].path: is for the protocol websocket only
mistakes.yaml:39:11: listeners[9].path: must begin with a slash
mistakes.yaml:41:5: listeners[10]: unknown key "require_certificate"
mistakes.yaml:42:35: durability.filters[0].filter: # must stand alone in the last level of a topic filter
mistakes.yaml:43:1: unknown key "listener"; did you mean listeners?
'''


def test_every_mistake_of_a_file_is_told_in_one_run(command, tmp_path):
    shutil.copy(HERE / "mistakes.yaml", tmp_path)
    code, out, err = command("-t", "-c", "mistakes.yaml")
    assert code == 1 and out == ""
    assert err.splitlines() == SAID.splitlines()


def test_what_does_not_fit_together_is_told_when_the_parts_are_right(command, tmp_path):
    (tmp_path / "a.yaml").write_text("""\
listeners:
  - name: home
    bind: 127.0.0.1:1884
  - name: home
    bind: 127.0.0.1:1885
    chains: office
  - bind: 127.0.0.1:1884
    proxy_protocol: true
    limits: { max_sessions: 5 }
""")
    code, out, err = command("-t", "-c", "a.yaml")
    assert code == 1 and out == ""
    assert err.splitlines() == [
        "a.yaml:4:11: listeners[1].name: listeners[0] has this name already",
        "a.yaml:6:13: listeners[1].chains: there is no set of chains of this name",
        "a.yaml:7:11: listeners[2].bind: listeners[0] is bound to 127.0.0.1:1884 already",
        "a.yaml:8:21: listeners[2].proxy_protocol: nobody could come in: broker.trusted_proxies is empty",
        "a.yaml:9:29: listeners[2].limits.max_sessions: counts for the broker as a whole: set it in the limits of all",
    ]
