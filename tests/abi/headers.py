# SPDX-License-Identifier: Apache-2.0
"""Reads the public headers: the structs, constants and declarations that a plugin may rely on.

It understands the plain C that rule 4 of avocet_base.h allows, and refuses the rest."""

import re

from kit import without_comments

VERSION = {"AVOCET_ABI_MAJOR", "AVOCET_ABI_MINOR"}   # raised on purpose, so in no golden file
FOR_CPLUSPLUS = re.compile(r"^#ifdef __cplusplus$.*?^#endif$", re.MULTILINE | re.DOTALL)
DEFINE = re.compile(r"#\s*define\s+(\w+)(\([^)]*\))?\s*(.*)")
STRUCT = re.compile(r"(typedef )?struct (\w+) ?\{(.*)\} ?(\w*)$", re.DOTALL)
OPENING = r"\bstruct\s+{tag}\s*\{{([^\n]*)"
FORBIDDEN = re.compile(r"\b(enum|union|bool|_Bool|long|time_t|off_t|ssize_t|va_list|FILE|"
                       r"sockaddr)\b")


class HeaderError(Exception):
    """A header holds what the guards cannot read, or what the ABI forbids."""


class Struct:
    """members are declarations, in order; grows: it may be appended to."""

    def __init__(self, tag, members, grows):
        self.tag = tag
        self.members = members
        self.grows = grows

    def names(self):
        return [name for member in self.members for name in member_names(member)]


class Header:
    def __init__(self, path):
        self.name = path.name
        raw = path.read_text(encoding="utf-8")
        text = without_comments(raw).replace("\\\n", " ")
        text = FOR_CPLUSPLUS.sub("", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))
        self.defines = []     # (name, parameters or None, value)
        self.structs = []
        self.others = []      # typedefs, prototypes, forward declarations
        code = []
        for line in text.splitlines():
            if line.lstrip().startswith("#"):
                self._directive(line.strip())
            else:
                code.append(line)
        for declaration in split_declarations("\n".join(code)):
            self._declaration(raw, declaration)

    def _directive(self, line):
        define = DEFINE.match(line)
        if define and define.group(3) and define.group(1) not in VERSION:
            name, parameters, value = define.groups()
            self.defines.append((name, parameters, normal(value)))

    def _declaration(self, raw, text):
        forbidden = FORBIDDEN.search(text)
        if forbidden:
            raise HeaderError(f"{self.name}: `{forbidden.group()}` breaks rule 4 of avocet_base.h: "
                              f"{text[:60]}")
        struct = STRUCT.match(text)
        if struct and "{" not in struct.group(3):
            tag = struct.group(2)
            members = [normal(member) for member in struct.group(3).split(";") if member.strip()]
            self.structs.append(Struct(tag, members, may_grow(raw, tag, members)))
        elif "{" in text:
            raise HeaderError(f"{self.name}: the guards cannot read this: {text[:60]}")
        else:
            self.others.append(text)

    def lines(self):
        """One line per declaration, and per member of a struct with its place in it."""
        for name, parameters, value in self.defines:
            yield f"{self.name}: #define {name}{parameters or ''} {value}"
        for text in self.others:
            yield f"{self.name}: {text};"
        for struct in self.structs:
            yield f"{self.name}: struct {struct.tag} {'grows' if struct.grows else 'is FROZEN'}"
            for place, member in enumerate(struct.members):
                yield f"{self.name}: {struct.tag}[{place}] {member};"


def read_headers(include):
    return [Header(path) for path in sorted((include / "avocet").glob("*.h"))]


def version(include):
    """(major, minor) as avocet_base.h states them."""
    text = (include / "avocet" / "avocet_base.h").read_text(encoding="utf-8")
    found = [re.search(rf"#define {name}\s+(\d+)u?\b", text) for name in sorted(VERSION)]
    if None in found:
        raise HeaderError("avocet_base.h does not state AVOCET_ABI_MAJOR and AVOCET_ABI_MINOR")
    return tuple(int(match.group(1)) for match in found)


def normal(text):
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"(?<=\() | (?=[),])", "", text)


def split_declarations(text):
    """Yields each declaration without its `;`; of a function with a body its prototype."""
    depth, start, body = 0, 0, 0
    for place, char in enumerate(text):
        if char == "{":
            body = place if depth == 0 else body
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and text[start:body].rstrip().endswith(")"):
                yield normal(text[start:body])
                start = place + 1
        elif char == ";" and depth == 0:
            if text[start:place].strip():
                yield normal(text[start:place])
            start = place + 1
    if text[start:].strip():
        raise HeaderError(f"a declaration does not end: {normal(text[start:])[:60]}")


def may_grow(raw, tag, members):
    """A struct grows if it says its size, or if the comment above or beside it says `stride`."""
    if any(member.startswith("uint32_t struct_size") for member in members):
        return True
    opening = re.search(OPENING.format(tag=tag), raw)
    above = re.search(r"^[ \t]*/\*(?:(?!\*/).)*\*/[ \t]*\n(?:typedef\s+)?\Z", raw[:opening.start()],
                      re.MULTILINE | re.DOTALL)
    return "stride" in opening.group(1) or bool(above and "stride" in above.group())


def member_names(member):
    function = re.search(r"\(\*(\w+)(?:\[[^\]]*\])?\) ?\(", member)
    if function:
        return [function.group(1)]
    return [re.search(r"(\w+)(?: ?\[[^\]]*\])*$", part.strip()).group(1)
            for part in member.split(",")]
