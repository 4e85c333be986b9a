/** The tests of boot/uefi's pure parts, compiled for this machine with sanitizers. */
#pragma once

#include <stdint.h>

/** Counts and prints a belief that does not hold. */
void expect(int holds, const char *what, const char *file, int line);
#define EXPECT(belief) expect((belief) ? 1 : 0, #belief, __FILE__, __LINE__)

/** The rules of arming, and the backends on fake registers. */
void check_watchdogs(void);

/** Counting attempts on a fake variable store. */
void check_attempts(void);

/** Damaged and random input for everything that reads bytes. */
void fuzz_readers(uint32_t seed, uint32_t runs);

/** Answers one line for each line of the standard input; see serve.c. */
int serve(void);
