#include "config.h"

#include "bootstate.h"
#include "plan.h"

enum { key_bytes = 16, value_bytes = config_options_bytes };
static const uint64_t timeout_s_max = 86400, menu_s_max = 60, slow_ms_max = 600000;

static const char *const slot_prefixes[config_slots] = {"\\EFI\\kennel\\a\\", "\\EFI\\kennel\\b\\",
                                                        "\\EFI\\kennel\\safe\\"};

static void join(char *to, size_t bytes, const char *one, const char *other) {
  copy_text(to, bytes, one);
  size_t length = 0;
  while (to[length] != 0) length += 1;
  copy_text(to + length, bytes - length, other);
}

void config_defaults(struct config *config) {
  *config = (struct config){
      .timeout_ms = PLAN_WATCHDOG_MS,
      .attempts_max = PLAN_ATTEMPTS_MAX,
      .hold_max_ms = PLAN_HOLD_MAX_MS,
      .hang_slot = slot_none,
  };
  copy_text(config->driver, sizeof config->driver, "\\EFI\\kennel\\kennelwdt.efi");
  for (size_t at = 0; at < config_slots; at += 1) {
    struct config_slot *slot = &config->slots[at];
    join(slot->kernel, sizeof slot->kernel, slot_prefixes[at], "vmlinuz");
    join(slot->initrd, sizeof slot->initrd, slot_prefixes[at], "initrd");
  }
}

/** A number of at most nine digits, `least` to `most`. */
static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
  uint64_t sum = 0;
  size_t at = 0;
  for (; text[at] >= '0' && text[at] <= '9' && at < 9; at += 1) {
    sum = sum * 10 + (uint64_t)(text[at] - '0');
  }
  if (at == 0 || text[at] != 0 || sum < least || sum > most) return false;
  *value = sum;
  return true;
}

static bool seconds(const char *text, uint64_t most, uint64_t *ms) {
  uint64_t value = 0;
  if (!number(text, 0, most, &value)) return false;
  *ms = value * 1000;
  return true;
}

/** One of two words. */
static bool choice(const char *text, const char *no, const char *yes, bool *value) {
  bool is_yes = text_equal(text, yes);
  if (!is_yes && !text_equal(text, no)) return false;
  *value = is_yes;
  return true;
}

static bool fits(const char *text, char *to, size_t bytes) {
  size_t length = 0;
  while (text[length] != 0) length += 1;
  if (length >= bytes) return false;
  copy_text(to, bytes, text);
  return true;
}

/** A path on the same file system as the loader; slashes may be written either way. */
static bool path(const char *text, char *to) {
  if (!fits(text, to, config_path_bytes)) return false;
  for (; *to != 0; to += 1) {
    if (*to == '/') *to = '\\';
  }
  return true;
}

static bool set_slot(struct config_slot *slot, const char *key, const char *value) {
  if (text_equal(key, "kernel")) return value[0] != 0 && path(value, slot->kernel);
  if (text_equal(key, "initrd")) return path(value, slot->initrd);
  if (text_equal(key, "options")) return fits(value, slot->options, sizeof slot->options);
  return false;
}

static bool slot(const char *value, enum slot *into) {
  for (unsigned at = 0; at < config_slots; at += 1) {
    if (!text_equal(value, slot_name((enum slot)at))) continue;
    *into = (enum slot)at;
    return true;
  }
  return false;
}

static bool set_lab(struct config *config, const char *key, const char *value) {
  if (!config->lab) return false;
  if (text_equal(key, "hang")) return fits(value, config->hang_step, sizeof config->hang_step);
  if (text_equal(key, "hang_at")) return choice(value, "normal", "high", &config->hang_high);
  if (text_equal(key, "hang_slot")) return slot(value, &config->hang_slot);
  if (text_equal(key, "slow_ms")) return number(value, 0, slow_ms_max, &config->slow_ms);
  return false;
}

/** Splits `a.kernel`: true when the key begins with `prefix` and a dot; `rest` is behind it. */
static bool has_prefix(const char *key, const char *prefix, const char **rest) {
  for (; *prefix != 0; prefix += 1, key += 1) {
    if (*key != *prefix) return false;
  }
  *rest = key + 1;
  return *key == '.';
}

static bool set(struct config *config, const char *key, const char *value) {
  const char *rest = NULL;
  for (unsigned at = 0; at < config_slots; at += 1) {
    if (has_prefix(key, slot_name((enum slot)at), &rest)) {
      return set_slot(&config->slots[at], rest, value);
    }
  }
  if (has_prefix(key, "lab", &rest)) return set_lab(config, rest, value);
  if (text_equal(key, "timeout")) return seconds(value, timeout_s_max, &config->timeout_ms);
  if (text_equal(key, "policy")) return choice(value, "prefer", "require", &config->require);
  if (text_equal(key, "lock")) return choice(value, "no", "yes", &config->lock);
  if (text_equal(key, "attempts")) return number(value, 1, 100, &config->attempts_max);
  if (text_equal(key, "menu")) return seconds(value, menu_s_max, &config->menu_ms);
  if (text_equal(key, "hold_max")) {
    return seconds(value, PLAN_HOLD_MAX_MS / 1000, &config->hold_max_ms);
  }
  if (text_equal(key, "driver")) return path(value, config->driver);
  if (text_equal(key, "lab")) return choice(value, "no", "yes", &config->lab);
  return false;
}

static bool is_blank(char character) { return character == ' ' || character == '\t'; }

static bool is_printable(char character) { return character >= 0x20 && character <= 0x7e; }

/** Copies a part of a line without the blanks around it; false when it does not fit. */
static bool trimmed(const char *from, size_t length, char *to, size_t bytes) {
  while (length > 0 && is_blank(from[0])) {
    from += 1;
    length -= 1;
  }
  while (length > 0 && is_blank(from[length - 1])) length -= 1;
  if (length >= bytes) return false;
  for (size_t at = 0; at < length; at += 1) {
    if (!is_printable(from[at]) && from[at] != '\t') return false;
    to[at] = from[at];
  }
  to[length] = 0;
  return true;
}

/** True for a line that is empty, a comment, or understood. */
static bool parse_line(struct config *config, const char *line, size_t length) {
  if (length > 0 && line[length - 1] == '\r') length -= 1;
  size_t start = 0, equals = 0;
  while (start < length && is_blank(line[start])) start += 1;
  if (start == length || line[start] == '#') return true;
  while (equals < length && line[equals] != '=') equals += 1;
  if (equals == length) return false;
  char key[key_bytes], value[value_bytes];
  if (!trimmed(line, equals, key, sizeof key)) return false;
  if (!trimmed(line + equals + 1, length - equals - 1, value, sizeof value)) return false;
  return set(config, key, value);
}

void config_parse(struct config *config, const char *text, size_t bytes) {
  if (bytes > config_bytes_max) bytes = config_bytes_max;
  uint64_t number_of_line = 0;
  for (size_t at = 0; at < bytes;) {
    size_t length = 0;
    while (at + length < bytes && text[at + length] != '\n') length += 1;
    number_of_line += 1;
    if (!parse_line(config, text + at, length)) {
      if (config->bad_lines == 0) config->first_bad = number_of_line;
      config->bad_lines += 1;
    }
    at += length + 1;
  }
}
