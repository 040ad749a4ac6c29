# SPDX-License-Identifier: Apache-2.0
exec "$PYTHON" "$AVOCET_SRCDIR/tests/abi/abi.py" check
