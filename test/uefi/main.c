#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests.h"

static int failures;

void expect(int holds, const char *what, const char *file, int line) {
  if (holds) return;
  failures += 1;
  printf("%s:%d: does not hold: %s\n", file, line, what);
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "serve") == 0) return serve();
  if (count == 2 && strcmp(words[1], "check") == 0) {
    check_watchdogs();
    check_attempts();
  }
  if (count == 4 && strcmp(words[1], "fuzz") == 0) {
    fuzz_readers((uint32_t)strtoul(words[2], NULL, 10), (uint32_t)strtoul(words[3], NULL, 10));
  }
  return failures == 0 ? 0 : 1;
}
