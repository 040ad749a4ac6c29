# SPDX-License-Identifier: Apache-2.0
# what: only one row is written for each publication
# file: core/route/fan.c
/^deliver(/,/^}/ s/if (delivery->qos > 0 &&/if (delivery->qos > 0 \&\& fan->ticket == 0 \&\&/
