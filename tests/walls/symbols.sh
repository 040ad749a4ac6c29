# SPDX-License-Identifier: Apache-2.0
exec "$PYTHON" "$AVOCET_SRCDIR/tests/walls/walls.py" symbols --srcdir "$AVOCET_SRCDIR" --builddir "$AVOCET_BUILDDIR"
