/** What differs between the processors: the counter that time is told from. */
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
static inline uint64_t arch_counter(void) { return __builtin_ia32_rdtsc(); }
/** Not known without measuring. */
static inline uint64_t arch_counter_hz(void) { return 0; }
static inline void arch_pause(void) { __asm__ volatile("pause"); }
static inline void arch_interrupts_off(void) { __asm__ volatile("cli"); }
#elif defined(__aarch64__)
static inline uint64_t arch_counter(void) {
  uint64_t value;
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value));
  return value;
}
static inline uint64_t arch_counter_hz(void) {
  uint64_t value;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
  return value;
}
static inline void arch_pause(void) { __asm__ volatile("yield"); }
static inline void arch_interrupts_off(void) { __asm__ volatile("msr daifset, #3"); }
#else
#error "x86_64 and aarch64 only"
#endif
