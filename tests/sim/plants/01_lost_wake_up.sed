# SPDX-License-Identifier: Apache-2.0
# what: what was read before a pause waits for more bytes after it
# file: core/peer/peer.c
/^peer_resume(/,/^}/ s/stream_raise(peer->stream, STREAM_READ);/;/
