/* SPDX-License-Identifier: Apache-2.0 */
#include "read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 64 << 20 };

char *
acl_read_text(const char *path, size_t *len_out, char *why, size_t why_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	char *text = NULL;
	size_t len = 0;
	ssize_t n;

	if (fd < 0 || fstat(fd, &status) != 0) {
		(void)snprintf(why, why_size, "%s: %s", path, strerror(errno));
	} else if (!S_ISREG(status.st_mode) || status.st_size > MAX_FILE) {
		(void)snprintf(
		    why, why_size, "%s is no file, or longer than %d bytes", path, MAX_FILE);
	} else if ((text = malloc((size_t)status.st_size + 1)) == NULL) {
		(void)snprintf(why, why_size, "%s: no memory", path);
	} else {
		while (len < (size_t)status.st_size &&
		       (n = read(fd, text + len, (size_t)status.st_size - len)) > 0) {
			len += (size_t)n;
		}
		text[len] = '\0';
		*len_out = len;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return text;
}

/* Mosquitto's lines begin with one of three words and have no colon behind it. */
static enum acl_format
guess(const char *text)
{
	while (*text != '\0') {
		size_t word = strcspn(text, " \t\r\n:");

		if (text[0] != '#' && word != 0) {
			bool is_known = (word == 4 && strncmp(text, "user", 4) == 0) ||
					(word == 5 && strncmp(text, "topic", 5) == 0) ||
					(word == 7 && strncmp(text, "pattern", 7) == 0);

			return is_known && text[word] != ':' ? ACL_ACLFILE : ACL_YAML;
		}
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return ACL_YAML;
}

struct acl_rules *
acl_parse(const char *path, const char *text, size_t len, enum acl_format format, char *why,
    size_t why_size)
{
	struct acl_rules *rules = acl_rules_new();
	bool done;

	if (rules == NULL) {
		(void)snprintf(why, why_size, "%s: no memory", path);
		return NULL;
	}
	if (memchr(text, '\0', len) != NULL) {
		(void)snprintf(why, why_size, "%s contains a NUL: it is no text", path);
		acl_rules_free(rules);
		return NULL;
	}
	if (format == ACL_AUTO) {
		format = guess(text);
	}
	done = format == ACL_ACLFILE ? acl_parse_aclfile(rules, path, text, len, why, why_size)
				     : acl_parse_yaml(rules, path, text, len, why, why_size);
	if (!done) {
		acl_rules_free(rules);
		return NULL;
	}
	return rules;
}

struct acl_rules *
acl_read(const char *path, enum acl_format format, char *why, size_t why_size)
{
	struct acl_rules *rules;
	size_t len;
	char *text = acl_read_text(path, &len, why, why_size);

	if (text == NULL) {
		return NULL;
	}
	rules = acl_parse(path, text, len, format, why, why_size);
	free(text);
	return rules;
}
