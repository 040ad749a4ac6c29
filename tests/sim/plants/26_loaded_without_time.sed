# SPDX-License-Identifier: Apache-2.0
# what: what is loaded has no place in time
# file: core/broker/house.c
s/worker_lend(house->main.worker, load_in_context, &loading);/load_in_context(house->main.worker, \&loading);/
