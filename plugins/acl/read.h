/* SPDX-License-Identifier: Apache-2.0 */
/* Rules from a file: acl.yaml, or Mosquitto's aclfile. */
#ifndef ACL_READ_H
#define ACL_READ_H

#include "rules.h"

enum acl_format { ACL_AUTO, ACL_YAML, ACL_ACLFILE };

/* A file's text, with a NUL behind it; NULL with a sentence. The caller frees it. */
char *acl_read_text(const char *path, size_t *len_out, char *why, size_t why_size);

/* NULL with a sentence that begins with file:line. ACL_AUTO: by the first line that says something.
 */
struct acl_rules *acl_parse(const char *path, const char *text, size_t len, enum acl_format format,
    char *why, size_t why_size);
/* Both. */
struct acl_rules *acl_read(const char *path, enum acl_format format, char *why, size_t why_size);

/* The two kinds; read_yaml.c and read_aclfile.c. false with a sentence. */
bool acl_parse_yaml(struct acl_rules *rules, const char *path, const char *text, size_t len,
    char *why, size_t why_size);
bool acl_parse_aclfile(struct acl_rules *rules, const char *path, const char *text, size_t len,
    char *why, size_t why_size);

#endif
