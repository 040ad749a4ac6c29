# SPDX-License-Identifier: Apache-2.0
# what: now and then the store does not wake who waits
# file: core/store/port.c
/^store_port_publish(/,/^}/ s/if (atomic_exchange(&port->waits_set, false)) {/if (atomic_exchange(\&port->waits_set, false) \&\& port->taken % 4 != 0) {/
