# SPDX-License-Identifier: Apache-2.0
# The macros of configure.ac. Each sets variables that Makefile.am names once.

# AVOCET_C11: the compiler must speak C11 with atomics; the project uses nothing newer.
AC_DEFUN([AVOCET_C11], [
    AC_CACHE_CHECK([whether $CC speaks C11 with atomics], [avocet_cv_c11], [
        avocet_save_CFLAGS=$CFLAGS
        CFLAGS="$CFLAGS -std=c11"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stdatomic.h>
            _Static_assert(sizeof(int) >= 4, "int");]], [[atomic_uint a = 0; return (int)atomic_fetch_add(&a, 1u);]])],
            [avocet_cv_c11=yes], [avocet_cv_c11=no])
        CFLAGS=$avocet_save_CFLAGS
    ])
    AS_IF([test "$avocet_cv_c11" != yes], [AC_MSG_ERROR([a C11 compiler is needed (Debian packages: gcc or clang)])])
])

# AVOCET_NEED([VAR], [pkg-config module], [Debian package], [what for])
AC_DEFUN([AVOCET_NEED], [
    PKG_CHECK_MODULES([$1], [$2], [],
        [AC_MSG_ERROR([$2 is missing (Debian package: $3); it is needed for $4])])
])

# AVOCET_FLAG([VAR], [flag], [compile|link]): appends the flag where the compiler takes it.
AC_DEFUN([AVOCET_FLAG], [
    AS_VAR_PUSHDEF([cache], [avocet_cv_flag_$2])
    AC_CACHE_CHECK([whether $CC takes $2], [cache], [
        avocet_save_CFLAGS=$CFLAGS
        avocet_save_LDFLAGS=$LDFLAGS
        m4_if([$3], [link],
            [LDFLAGS="$LDFLAGS -Werror $2"
             AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])],
            [CFLAGS="$CFLAGS -O1 -Werror $2"
             AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])])
        CFLAGS=$avocet_save_CFLAGS
        LDFLAGS=$avocet_save_LDFLAGS
    ])
    AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$1], [" $2"])])
    AS_VAR_POPDEF([cache])
])

# AVOCET_BUILD_OPTIONS: sanitizers, coverage, fuzzing. They exclude hardening, which would hide what they look for.
AC_DEFUN([AVOCET_BUILD_OPTIONS], [
    INSTRUMENT_CFLAGS=
    INSTRUMENT_LDFLAGS=
    AC_ARG_ENABLE([sanitizers],
        [AS_HELP_STRING([--enable-sanitizers=LIST], [address,undefined or thread])],
        [], [enable_sanitizers=no])
    AS_CASE([$enable_sanitizers],
        [yes], [enable_sanitizers=address,undefined],
        [no|address|undefined|address,undefined|undefined,address|thread], [],
        [AC_MSG_ERROR([--enable-sanitizers takes address,undefined or thread, not "$enable_sanitizers"])])
    AS_IF([test "$enable_sanitizers" != no], [
        INSTRUMENT_CFLAGS="-fsanitize=$enable_sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"
        INSTRUMENT_LDFLAGS="-fsanitize=$enable_sanitizers"
    ])

    AC_ARG_ENABLE([coverage],
        [AS_HELP_STRING([--enable-coverage], [count executed lines and branches (gcov)])],
        [], [enable_coverage=no])
    AS_IF([test "$enable_coverage" = yes], [
        INSTRUMENT_CFLAGS="$INSTRUMENT_CFLAGS --coverage -O0 -DNDEBUG"
        INSTRUMENT_LDFLAGS="$INSTRUMENT_LDFLAGS --coverage"
    ])

    AC_ARG_ENABLE([fuzzing],
        [AS_HELP_STRING([--enable-fuzzing], [build the fuzzers (clang with libFuzzer)])],
        [], [enable_fuzzing=no])
    AS_IF([test "$enable_fuzzing" = yes], [
        AC_CACHE_CHECK([whether $CC has libFuzzer], [avocet_cv_fuzzer], [
            avocet_save_CFLAGS=$CFLAGS
            CFLAGS="$CFLAGS -fsanitize=fuzzer"
            AC_LINK_IFELSE([AC_LANG_SOURCE([[#include <stddef.h>
                #include <stdint.h>
                int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);
                int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { return n != 0 && *d == 255 ? -1 : 0; }]])],
                [avocet_cv_fuzzer=yes], [avocet_cv_fuzzer=no])
            CFLAGS=$avocet_save_CFLAGS
        ])
        AS_IF([test "$avocet_cv_fuzzer" != yes],
            [AC_MSG_ERROR([--enable-fuzzing needs CC=clang and libFuzzer (Debian packages: clang libclang-rt-14-dev)])])
        INSTRUMENT_CFLAGS="$INSTRUMENT_CFLAGS -fsanitize=fuzzer-no-link"
    ])
    AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])
    AC_SUBST([INSTRUMENT_CFLAGS])
    AC_SUBST([INSTRUMENT_LDFLAGS])
])

# AVOCET_WARNINGS: clean with gcc 12 and clang 14; errors only where CI asks for it.
AC_DEFUN([AVOCET_WARNINGS], [
    WARNING_CFLAGS=
    m4_foreach_w([flag], [-Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
        -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wcast-align -Wwrite-strings -Wundef
        -Wformat=2 -Wvla -Wdouble-promotion -Wimplicit-fallthrough -Wlogical-op -Wduplicated-cond
        -Wduplicated-branches],
        [AVOCET_FLAG([WARNING_CFLAGS], m4_quote(flag), [compile])])
    AC_ARG_ENABLE([werror],
        [AS_HELP_STRING([--enable-werror], [warnings are errors (for CI)])], [], [enable_werror=no])
    AS_IF([test "$enable_werror" = yes], [WARNING_CFLAGS="$WARNING_CFLAGS -Werror"])
    AC_SUBST([WARNING_CFLAGS])
])

# AVOCET_HARDENING: on unless the build is instrumented.
AC_DEFUN([AVOCET_HARDENING], [
    HARDEN_CFLAGS=
    HARDEN_LDFLAGS=
    PIE_CFLAGS=
    PIE_LDFLAGS=
    AC_ARG_ENABLE([hardening],
        [AS_HELP_STRING([--disable-hardening], [no PIE, RELRO, stack protector, FORTIFY, stack clash, CET])],
        [], [enable_hardening=yes])
    AS_IF([test "$enable_sanitizers$enable_coverage$enable_fuzzing" != nonono], [enable_hardening="no (instrumented)"])
    AS_IF([test "$enable_hardening" = yes], [
        m4_foreach_w([flag], [-fstack-protector-strong -fstack-clash-protection -fcf-protection=full],
            [AVOCET_FLAG([HARDEN_CFLAGS], m4_quote(flag), [compile])])
        m4_foreach_w([flag], [-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code],
            [AVOCET_FLAG([HARDEN_LDFLAGS], m4_quote(flag), [link])])
        AVOCET_FLAG([PIE_CFLAGS], [-fPIE], [compile])
        AVOCET_FLAG([PIE_LDFLAGS], [-pie], [link])
        # FORTIFY needs optimisation, and 3 needs a compiler that knows dynamic object sizes.
        AC_CACHE_CHECK([for the level of _FORTIFY_SOURCE], [avocet_cv_fortify], [
            avocet_cv_fortify=2
            AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [[char b@<:@4@:>@; return (int)__builtin_dynamic_object_size(b, 0);]])],
                [avocet_cv_fortify=3])
        ])
        AC_COMPILE_IFELSE([AC_LANG_SOURCE([[#ifndef __OPTIMIZE__
            #error without optimisation it does nothing
            #endif
            int optimised;]])],
            [HARDEN_CFLAGS="$HARDEN_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$avocet_cv_fortify"])
    ])
    # A plugin takes nothing from the program that loads it; but an instrumented one its runtime.
    PLUGIN_LDFLAGS=-Wl,-z,defs
    AS_IF([test "$enable_sanitizers$enable_coverage$enable_fuzzing" != nonono], [PLUGIN_LDFLAGS=])
    AC_SUBST([PLUGIN_LDFLAGS])
    AC_SUBST([HARDEN_CFLAGS])
    AC_SUBST([HARDEN_LDFLAGS])
    AC_SUBST([PIE_CFLAGS])
    AC_SUBST([PIE_LDFLAGS])
])

# AVOCET_LTO: the broker is optimised as a whole when it is linked: rooms call small functions of each other. The objects
# are fat, so that tests, which link a few rooms each, are linked as ever. clang 14 makes no fat objects.
AC_DEFUN([AVOCET_LTO], [
    LTO_CFLAGS=
    LTO_LDFLAGS=
    AC_ARG_ENABLE([lto],
        [AS_HELP_STRING([--disable-lto], [do not optimise the broker as a whole at link time])],
        [], [enable_lto=yes])
    AS_IF([test "$enable_sanitizers$enable_coverage$enable_fuzzing" != nonono], [enable_lto="no (instrumented)"])
    AS_IF([test "$enable_lto" = yes], [
        AC_CACHE_CHECK([whether $CC makes fat objects for link-time optimisation], [avocet_cv_lto], [
            avocet_save_CFLAGS=$CFLAGS
            CFLAGS="$CFLAGS -Werror -flto=auto -ffat-lto-objects"
            AC_LINK_IFELSE([AC_LANG_PROGRAM([], [[#ifndef __OPTIMIZE__
                #error without optimisation it is slow to link, and does little
                #endif]])], [avocet_cv_lto=yes], [avocet_cv_lto=no])
            CFLAGS=$avocet_save_CFLAGS
        ])
        AS_IF([test "$avocet_cv_lto" = yes], [
            LTO_CFLAGS='-flto=auto -ffat-lto-objects'
            LTO_LDFLAGS=-flto=auto
        ], [enable_lto="no (the compiler has none)"])
    ])
    AC_SUBST([LTO_CFLAGS])
    AC_SUBST([LTO_LDFLAGS])
])

# AVOCET_CLEARING: gcc clears structs with `rep stos` and copies them with `rep movs`, which take 30 cycles to begin: a
# tenth of what a message costs. Vectors do it at once. Other compilers and processors have no such flag.
AC_DEFUN([AVOCET_CLEARING], [
    CLEARING_CFLAGS=
    AC_CACHE_CHECK([whether $CC can clear structs without rep stos], [avocet_cv_clearing], [
        avocet_save_CFLAGS=$CFLAGS
        avocet_clearing='-mmemset-strategy=vector_loop:512:noalign,libcall:-1:noalign'
        avocet_clearing="$avocet_clearing -mmemcpy-strategy=vector_loop:256:noalign,libcall:-1:noalign"
        CFLAGS="$CFLAGS -Werror $avocet_clearing"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [avocet_cv_clearing=$avocet_clearing], [avocet_cv_clearing=no])
        CFLAGS=$avocet_save_CFLAGS
    ])
    AS_IF([test "$avocet_cv_clearing" != no], [CLEARING_CFLAGS=$avocet_cv_clearing])
    AC_SUBST([CLEARING_CFLAGS])
])

# AVOCET_DIR([name], [default], [what for]): --with-NAMEdir, below prefix by default, so that an installation of a user's
# own and distcheck need no root.
AC_DEFUN([AVOCET_DIR], [
    AC_ARG_WITH([$1dir],
        [AS_HELP_STRING([--with-$1dir=DIR], [where $3 are installed ($2)])],
        [], [with_$1dir='$2'])
    AS_CASE([$with_$1dir],
        [yes|no], [AC_MSG_ERROR([--with-$1dir takes a folder])])
    AC_SUBST([$1dir], [$with_$1dir])
])

# AVOCET_PLUGINS_INIT: where plugins are installed, and an empty list of them.
AC_DEFUN([AVOCET_PLUGINS_INIT], [
    AC_ARG_WITH([plugindir],
        [AS_HELP_STRING([--with-plugindir=DIR], [where plugins are installed (LIBDIR/avocet/plugins)])],
        [plugindir=$withval], [plugindir='${libdir}/avocet/plugins'])
    AC_SUBST([plugindir])
    avocet_plugins=
])

# AVOCET_PLUGIN([name], [default], [needs], [Debian package]): --enable-NAME and --disable-NAME, the conditional
# PLUGIN_NAME, and NAME_CFLAGS and NAME_LIBS of the pkg-config modules that it needs (upper case, - becomes _).
# default "auto": built where the modules are there.
AC_DEFUN([AVOCET_PLUGIN], [
    m4_pushdef([upper], m4_translit([$1], [a-z-], [A-Z_]))
    m4_pushdef([lower], m4_translit([$1], [-], [_]))
    AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [build the plugin $1 (default: $2)])],
        [], [enable_]lower[=$2])
    m4_ifval([$3], [
        AS_IF([test "$enable_]lower[" != no], [
            PKG_CHECK_MODULES(upper, [$3], [enable_]lower[=yes], [
                AS_IF([test "$enable_]lower[" = yes],
                    [AC_MSG_ERROR([$3 is missing (Debian package: $4); the plugin $1 needs it (or configure --disable-$1)])])
                enable_]lower[=no
            ])
        ])
    ], [AS_IF([test "$enable_]lower[" = auto], [enable_]lower[=yes])])
    AM_CONDITIONAL([PLUGIN_]upper, [test "$enable_]lower[" = yes])
    AS_IF([test "$enable_]lower[" = yes], [avocet_plugins="$avocet_plugins $1"])
    m4_popdef([lower])
    m4_popdef([upper])
])

# AVOCET_SUMMARY: what was decided, at the end of configure.
AC_DEFUN([AVOCET_SUMMARY], [
    AC_MSG_NOTICE([
    avocet $PACKAGE_VERSION
      compiler    $CC $CFLAGS
      hardening   $enable_hardening
      lto         $enable_lto
      sanitizers  $enable_sanitizers
      coverage    $enable_coverage
      fuzzing     $enable_fuzzing
      tests       $enable_tests
      plugins    ${avocet_plugins:- none yet}
    ])
])
