# SPDX-License-Identifier: Apache-2.0
exec "$PYTHON" "$AVOCET_SRCDIR/tests/walls/walls.py" includes --srcdir "$AVOCET_SRCDIR" --builddir "$AVOCET_BUILDDIR"
