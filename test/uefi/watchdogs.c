/** The truth table, the hand-off, and each backend on a fake register block. */
#include <string.h>

#include "tests.h"
#include "watchdog.h"

/** A device of registers that keep what is written, unless a test says otherwise. */
struct fake {
  uint8_t config[256];
  uint8_t bar0[16];
  uint8_t io[0x80];
  uint8_t memory[0x2000];
  /** Registers below this address of `memory` are one page, those above the other. */
  uint64_t io_base, memory_base;
  unsigned refreshes;
  int halts_at_nothing;
};

static uint8_t *place(struct fake *fake, enum register_space space, uint64_t at) {
  if (space == space_config) return fake->config + at;
  if (space == space_bar0) return fake->bar0 + at;
  if (space == space_io) return fake->io + (at - fake->io_base);
  return fake->memory + (at - fake->memory_base);
}

static uint32_t fake_read(void *context, enum register_space space, uint64_t at, unsigned bytes) {
  uint32_t value = 0;
  memcpy(&value, place(context, space, at), bytes);
  return value;
}

/** The 6300ESB takes 80h, 86h before each register; writing 1s to its reload register is no store.
 */
static void fake_write(void *context, enum register_space space, uint64_t at, unsigned bytes,
                       uint32_t value) {
  struct fake *fake = context;
  if (space == space_bar0 && at == 0x0c) {
    if (value == 0x100) fake->refreshes += 1;
    if (value == 0x200) fake->bar0[0x0d] &= (uint8_t)~0x02;
    return;
  }
  if (space == space_config && at == 0x68 && (fake->config[0x68] & 1) != 0) return;
  if (space == space_io && at - fake->io_base == 0x60) {
    fake->refreshes += 1;
    memcpy(place(fake, space, at), place(fake, space, at + 0x12), 2);
    return;
  }
  if (space == space_io && (at - fake->io_base == 0x64 || at - fake->io_base == 0x66)) {
    uint32_t kept = fake_read(fake, space, at, 2) & ~value;
    memcpy(place(fake, space, at), &kept, 2);
    return;
  }
  if (space == space_memory && fake->halts_at_nothing) return;
  memcpy(place(fake, space, at), &value, bytes);
}

static struct watchdog on(struct fake *fake) {
  return (struct watchdog){.registers = {fake, fake_read, fake_write}};
}

static struct fake esb(void) {
  struct fake fake = {0};
  const uint8_t identity[] = {0x86, 0x80, 0xab, 0x25};
  memcpy(fake.config, identity, sizeof identity);
  return fake;
}

/** A1-06: four rows, and what is refused changes nothing. */
static void check_truth_table(void) {
  struct fake fake = esb();
  struct watchdog watchdog = on(&fake);
  uint64_t granted = 99;
  EXPECT(i6300esb_probe(&watchdog));
  EXPECT(watchdog_set(&watchdog, 0, &granted) == watchdog_ok && granted == 0);
  EXPECT((fake.config[0x68] & 2) == 0);
  EXPECT(watchdog_set(&watchdog, 20000, &granted) == watchdog_ok && granted == 20000);
  EXPECT((fake.config[0x68] & 2) != 0);
  EXPECT(watchdog_set(&watchdog, 30000, &granted) == watchdog_ok && granted >= 30000);
  EXPECT(watchdog_set(&watchdog, 999, &granted) == watchdog_range && granted >= 30000);
  EXPECT(watchdog_set(&watchdog, watchdog.max_ms + 1, &granted) == watchdog_range);
  EXPECT(watchdog.granted_ms >= 30000 && watchdog.granted_ms < 30002 && watchdog.running);
  watchdog.can_rearm = false;
  EXPECT(watchdog_set(&watchdog, 20000, &granted) == watchdog_unsupported && watchdog.running);
  EXPECT(watchdog_set(&watchdog, 0, &granted) == watchdog_ok && granted == 0);
  EXPECT(!watchdog.running && (fake.config[0x68] & 2) == 0);
}

/** A1-03, A1-04: one last refresh, then every call is refused and nothing is touched. */
static void check_hand_off(void) {
  struct fake fake = esb();
  struct watchdog watchdog = on(&fake);
  uint64_t granted = 0;
  EXPECT(i6300esb_probe(&watchdog));
  EXPECT(watchdog_set(&watchdog, 20000, &granted) == watchdog_ok);
  unsigned before = fake.refreshes;
  struct watchdog_handed handed = watchdog_hand_off(&watchdog, true);
  EXPECT(fake.refreshes == before + 1);
  EXPECT(handed.refreshed && handed.locked && handed.granted_ms == 20000);
  EXPECT((fake.config[0x68] & 3) == 3);
  EXPECT(watchdog_refresh(&watchdog) == watchdog_revoked);
  EXPECT(watchdog_disable(&watchdog) == watchdog_revoked);
  EXPECT(watchdog_set(&watchdog, 0, &granted) == watchdog_revoked);
  EXPECT(watchdog_set(&watchdog, 20000, &granted) == watchdog_revoked);
  EXPECT(!watchdog_hand_off(&watchdog, true).refreshed);
  EXPECT(fake.refreshes == before + 1);
}

static void check_unarmed_hand_off(void) {
  struct fake fake = esb();
  struct watchdog watchdog = on(&fake);
  EXPECT(i6300esb_probe(&watchdog));
  EXPECT(!watchdog_hand_off(&watchdog, true).refreshed && fake.refreshes == 0);
  EXPECT((fake.config[0x68] & 3) == 0);
}

static void check_i6300esb(void) {
  struct fake fake = esb();
  struct watchdog watchdog = on(&fake);
  uint64_t granted = 0;
  fake.bar0[0x0d] = 0x02;
  fake.config[0x68] = 0x02;
  EXPECT(i6300esb_probe(&watchdog) && watchdog.cause == cause_watchdog && !watchdog.running);
  EXPECT(watchdog_set(&watchdog, watchdog.max_ms, &granted) == watchdog_ok);
  EXPECT(granted == watchdog.max_ms);
  uint32_t first = 0, second = 0;
  memcpy(&first, fake.bar0, 4);
  memcpy(&second, fake.bar0 + 4, 4);
  EXPECT(first <= 0xfffff && second <= 0xfffff);
  watchdog.ops->forget_cause(&watchdog);
  EXPECT((fake.bar0[0x0d] & 0x02) == 0);
  // Locked by whoever was before: it counts, and cannot be stopped.
  fake.config[0x68] = 0x03;
  watchdog = on(&fake);
  EXPECT(i6300esb_probe(&watchdog) && watchdog.running && watchdog.locked);
  EXPECT(watchdog_disable(&watchdog) == watchdog_unsupported);
  fake.config[0] = 0;
  EXPECT(!i6300esb_probe(&watchdog));
}

static struct fake lpc(void) {
  struct fake fake = {.io_base = 0x600, .memory_base = 0xfed1f400};
  const uint8_t identity[] = {0x86, 0x80, 0x18, 0x29};
  const uint8_t pm_base[] = {0x01, 0x06}, complex[] = {0x01, 0xc0, 0xd1, 0xfe};
  memcpy(fake.config, identity, sizeof identity);
  memcpy(fake.config + 0x40, pm_base, sizeof pm_base);
  fake.config[0x44] = 0x80;
  memcpy(fake.config + 0xf0, complex, sizeof complex);
  fake.memory[0x10] = 0x20;
  return fake;
}

static void check_tco(void) {
  struct fake fake = lpc();
  struct watchdog watchdog = on(&fake);
  uint64_t granted = 0;
  fake.io[0x66] = 0x02;
  EXPECT(tco_probe(&watchdog) && watchdog.cause == cause_watchdog);
  EXPECT(fake.memory[0x10] == 0 && (fake.io[0x69] & 0x08) != 0);
  EXPECT(watchdog_set(&watchdog, 20000, &granted) == watchdog_ok && granted == 20400);
  EXPECT(fake.io[0x72] == 17 && (fake.io[0x69] & 0x08) == 0);
  struct watchdog_handed handed = watchdog_hand_off(&watchdog, true);
  EXPECT(handed.refreshed && !handed.locked && handed.remaining_ms == 20400);
  fake = lpc();
  fake.halts_at_nothing = 1;
  watchdog = on(&fake);
  EXPECT(!tco_probe(&watchdog));
  fake.config[0xf0] = 0;
  EXPECT(!tco_probe(&watchdog));
}

/** A GTDT with a secure watchdog first, and a non-secure one of 0x1000 and 0x2000. */
static size_t make_gtdt(uint8_t *table) {
  memset(table, 0, 160);
  table[88] = 2;
  table[92] = 96;
  for (int at = 0; at < 2; at += 1) {
    uint8_t *entry = table + 96 + 28 * at;
    entry[0] = 1;
    entry[1] = 28;
    entry[5] = 0x10;
    entry[13] = 0x20;
    entry[24] = at == 0 ? 4 : 0;
  }
  return 152;
}

static void check_sbsa(void) {
  struct fake fake = {.memory_base = 0x1000};
  struct watchdog watchdog = on(&fake);
  uint8_t gtdt[160];
  uint64_t granted = 0;
  size_t bytes = make_gtdt(gtdt);
  EXPECT(sbsa_probe(&watchdog, gtdt, bytes, 100000000));
  EXPECT(watchdog.base == 0x1000 && watchdog.base2 == 0x2000);
  // 32 bits at 100 MHz are 42.9 s a stage, and there are two.
  EXPECT(watchdog.max_ms == 84000);
  EXPECT(watchdog_set(&watchdog, 30000, &granted) == watchdog_ok && granted == 30000);
  uint32_t offset = 0;
  memcpy(&offset, fake.memory + 0x1008, 4);
  EXPECT(offset == 1500000000 && fake.memory[0x1000] == 1 && fake.memory[0] == 1);
  EXPECT(watchdog_disable(&watchdog) == watchdog_ok && fake.memory[0x1000] == 0);
  // Revision 1 has 48 bits.
  fake.memory[0x1fce] = 0x01;
  watchdog = on(&fake);
  EXPECT(sbsa_probe(&watchdog, gtdt, bytes, 1000000000) && watchdog.max_ms == 86400000);
  EXPECT(watchdog_set(&watchdog, 60000, &granted) == watchdog_ok && granted == 60000);
  EXPECT(fake.memory[0x100c] == 6);
  gtdt[96 + 28 + 24] = 4;
  EXPECT(!sbsa_probe(&watchdog, gtdt, bytes, 1000000000));
  EXPECT(!sbsa_probe(&watchdog, gtdt, 95, 1000000000));
  EXPECT(!sbsa_probe(&watchdog, gtdt, bytes, 0));
}

void check_watchdogs(void) {
  check_truth_table();
  check_hand_off();
  check_unarmed_hand_off();
  check_i6300esb();
  check_tco();
  check_sbsa();
}
