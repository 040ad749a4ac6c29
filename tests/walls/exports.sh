# SPDX-License-Identifier: Apache-2.0
exec "$PYTHON" "$AVOCET_SRCDIR/tests/walls/walls.py" exports --srcdir "$AVOCET_SRCDIR" --builddir "$AVOCET_BUILDDIR" \
	--program "$AVOCET_BUILDDIR/avocet" $(ls "$AVOCET_BUILDDIR"/plugins/*/*.so 2>/dev/null)
