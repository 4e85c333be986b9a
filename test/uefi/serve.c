/**
 * One answer for each line of words, for tests that compare with the TypeScript twin:
 *
 *     state HEX                                     decoded and encoded again
 *     begin HEX CONFIRMED CLOSING TRIAL CAUSE RANDOM    the state after opening a boot
 *     give_up HEX                                   the state after giving its slot up
 *     handoff HEX BACKEND MIN MAX GRANTED REMAINING REFRESHED LOCKED CAUSE [STAGE:STEP:MS ...]
 *     config HEX                                    what a configuration says
 *
 * `-` stands for an empty word. What is not believed is answered with `refused`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootstate.h"
#include "config.h"
#include "handoff.h"
#include "tests.h"

enum { line_bytes = 65536, words_max = 64, hex_bytes_max = 32768 };

static size_t from_hex(const char *text, uint8_t *bytes) {
  size_t count = 0;
  for (; text[0] != 0 && text[1] != 0 && count < hex_bytes_max; text += 2, count += 1) {
    const char pair[3] = {text[0], text[1], 0};
    bytes[count] = (uint8_t)strtoul(pair, NULL, 16);
  }
  return count;
}

static void answer_hex(const uint8_t *bytes, size_t count) {
  for (size_t at = 0; at < count; at += 1) printf("%02x", bytes[at]);
  printf("%s\n", count == 0 ? "refused" : "");
}

static void answer_state(const struct boot_state *state) {
  uint8_t bytes[boot_state_bytes];
  answer_hex(bytes, boot_state_encode(state, bytes, sizeof bytes));
}

static const char *empty_or(const char *word) { return strcmp(word, "-") == 0 ? "" : word; }

static enum reset_cause cause_named(const char *word) {
  if (strcmp(word, "watchdog") == 0) return cause_watchdog;
  return strcmp(word, "power") == 0 ? cause_power : cause_unknown;
}

static void begin(struct boot_state *state, char **words) {
  struct boot_notes notes = {.closing = end_cause_named(words[3]), .trial = slot_named(words[4])};
  copy_text(notes.confirmed, sizeof notes.confirmed, empty_or(words[2]));
  boot_state_begin(state, &notes, cause_named(words[5]), (uint32_t)strtoul(words[6], NULL, 16));
  answer_state(state);
}

static enum stage stage_of(const char *name) {
  unsigned at = 0;
  while (at < stage_runtime && strcmp(name, stage_name((enum stage)at)) != 0) at += 1;
  return (enum stage)at;
}

static void hand_off(const struct boot_state *state, char **words, int count) {
  struct stage_log log = {.hz = 1000, .zero = 0};
  for (int at = 10; at < count; at += 1) {
    char *step = strchr(words[at], ':');
    char *ms = step == NULL ? NULL : strchr(step + 1, ':');
    if (ms == NULL) continue;
    *step = 0;
    *ms = 0;
    stage_log_mark(&log, stage_of(words[at]), step + 1, strtoull(ms + 1, NULL, 10));
  }
  uint64_t numbers[5];
  for (int at = 0; at < 5; at += 1) numbers[at] = strtoull(words[3 + at], NULL, 10);
  struct hand_off record = {
      .state = state,
      .log = &log,
      .backend = words[2],
      .has_countdown = strcmp(words[2], "none") != 0,
      .min_ms = numbers[0],
      .max_ms = numbers[1],
      .handed = {true, strcmp(words[8], "locked") == 0, numbers[2], numbers[3]},
      .refreshed_ms = numbers[4],
      .cause = cause_named(words[9]),
  };
  uint8_t bytes[hand_off_bytes];
  answer_hex(bytes, hand_off_encode(&record, bytes, sizeof bytes));
}

static void config(const uint8_t *bytes, size_t count) {
  struct config read;
  config_defaults(&read);
  config_parse(&read, (const char *)bytes, count);
  printf("%llu|%s|%s|%llu|%llu|%llu|%s|%s|%s|%s|%llu|%llu|%llu",
         (unsigned long long)read.timeout_ms, read.require ? "require" : "prefer",
         read.lock ? "lock" : "-", (unsigned long long)read.attempts_max,
         (unsigned long long)read.menu_ms, (unsigned long long)read.hold_max_ms, read.driver,
         read.lab ? "lab" : "-", read.hang_step, read.hang_high ? "high" : "normal",
         (unsigned long long)read.slow_ms, (unsigned long long)read.bad_lines,
         (unsigned long long)read.first_bad);
  for (int at = 0; at < config_slots; at += 1) {
    printf("|%s|%s|%s", read.slots[at].kernel, read.slots[at].initrd, read.slots[at].options);
  }
  printf("\n");
}

static void answer(char **words, int count) {
  static uint8_t bytes[hex_bytes_max];
  size_t bytes_count = count > 1 ? from_hex(empty_or(words[1]), bytes) : 0;
  struct boot_state state;
  if (strcmp(words[0], "config") == 0) return config(bytes, bytes_count);
  if (!boot_state_decode(&state, bytes, bytes_count))
    printf("refused\n");
  else if (strcmp(words[0], "begin") == 0 && count == 7)
    begin(&state, words);
  else if (strcmp(words[0], "handoff") == 0 && count >= 10)
    hand_off(&state, words, count);
  else if (strcmp(words[0], "give_up") == 0) {
    boot_state_give_up(&state);
    answer_state(&state);
  } else
    answer_state(&state);
}

int serve(void) {
  static char line[line_bytes];
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *words[words_max];
    int count = 0;
    for (char *word = strtok(line, " \n"); word != NULL; word = strtok(NULL, " \n")) {
      if (count < words_max) words[count] = word;
      if (count < words_max) count += 1;
    }
    if (count > 0) answer(words, count);
  }
  return 0;
}
