/** machines/access.ts: the whole table, and one winner whatever the order (B14). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Commander,
  type LeaseEffect,
  type LeaseEvent,
  type LeaseState,
  leaseDueMs,
  leaseTable,
  leaseTermMs,
  settleMs,
  stepLease,
} from "../../agent/machines/access.ts";
import { printTable } from "../../agent/machines/fsm.ts";
import { Random } from "../../agent/sim/random.ts";
import { matchesTranscript } from "../golden.ts";

const machine = suite("access machine");
const ops: Commander = { key: "A", name: "ops", seat: "bench", rank: 0 };
const boss: Commander = { key: "B", name: "boss", seat: "desk", rank: 1 };
const twin: Commander = { ...ops, seat: "desk" };
const forMs = 10_000;
const free: LeaseState = { kind: "free", epoch: 7 };
const claimed: LeaseState = {
  kind: "claimed",
  epoch: 7,
  best: { by: ops, forMs },
  settlesMs: settleMs,
};
const held: LeaseState = { kind: "held", epoch: 7, holder: ops, endsMs: forMs };

function from(state: LeaseState, ...events: LeaseEvent[]) {
  let now = state;
  const effects: LeaseEffect[] = [];
  for (const event of events) {
    const step = stepLease(now, event);
    now = step.state;
    effects.push(...step.effects);
  }
  return { state: now, effects };
}

const refusal = (state: LeaseState, event: LeaseEvent): string => {
  const { state: after, effects } = from(state, event);
  assert.equal(after, state, "what is refused changes nothing");
  return effects.map((effect) => (effect.kind === "refuse" ? effect.why : effect.kind)).join();
};

machine("the table is what its transcript shows", () => {
  const events: LeaseEvent[] = [
    { kind: "claim", atMs: 100, by: boss, forMs },
    { kind: "take_over", atMs: 100, by: boss, forMs },
    { kind: "command", atMs: 100, by: boss, epoch: 0 },
    { kind: "command", atMs: 100, by: ops, epoch: 7 },
    { kind: "release", atMs: 100, by: ops },
    { kind: "tick", atMs: forMs },
  ];
  matchesTranscript("access.txt", printTable(leaseTable, [free, claimed, held], events));
});

machine("B14-01 commands of anybody but the holder are refused", () => {
  for (const by of [boss, twin]) {
    assert.is(refusal(held, { kind: "command", atMs: 1, by, epoch: 0 }), "not_owner");
    assert.is(refusal(held, { kind: "claim", atMs: 1, by, forMs }), "not_owner");
    assert.is(refusal(held, { kind: "release", atMs: 1, by }), "not_owner");
  }
  assert.is(refusal(free, { kind: "command", atMs: 1, by: ops, epoch: 0 }), "unclaimed");
  assert.is(refusal(claimed, { kind: "command", atMs: 1, by: ops, epoch: 0 }), "unclaimed");
});

machine("B14-02 a lease that ended fences what was sent under it", () => {
  const { state, effects } = from(held, { kind: "tick", atMs: forMs });
  assert.equal(effects, [{ kind: "ended", epoch: 7, by: ops, why: "lapsed" }]);
  assert.is(refusal(state, { kind: "command", atMs: forMs, by: ops, epoch: 7 }), "fenced");
  const next = from(
    state,
    { kind: "claim", atMs: forMs, by: boss, forMs },
    { kind: "tick", atMs: forMs + settleMs },
  );
  assert.equal(next.effects, [{ kind: "granted", epoch: 8, by: boss }]);
  assert.is(refusal(next.state, { kind: "command", atMs: forMs, by: ops, epoch: 7 }), "fenced");
  assert.is(refusal(next.state, { kind: "command", atMs: forMs, by: boss, epoch: 7 }), "fenced");
});

machine("B14-03 whatever the order of claims, the preferred one wins", () => {
  const random = new Random(14);
  const everybody: Commander[] = [0, 1, 2].flatMap((rank) =>
    ["a", "b", "c"].map((seat) => ({ key: `key${rank}`, name: "", seat, rank })),
  );
  for (let round = 0; round < 2000; round++) {
    const some = everybody.filter(() => random.chance(0.4));
    if (some.length === 0) continue;
    const winners = new Set<string>();
    for (let order = 0; order < 4; order++) {
      const shuffled = some.slice().sort(() => random.int(3) - 1);
      const claims = shuffled.map((by): LeaseEvent => {
        return { kind: "claim", atMs: random.int(settleMs), by, forMs };
      });
      const { state } = from(free, ...claims, { kind: "tick", atMs: 2 * settleMs });
      assert.is(state.kind, "held");
      if (state.kind === "held") winners.add(`${state.holder.key}/${state.holder.seat}`);
    }
    const [first] = some;
    assert.equal([...winners], [`${first?.key}/${first?.seat}`]);
  }
});

machine("B14-04 a take-over is one step with a number of its own", () => {
  const { state, effects } = from(held, { kind: "take_over", atMs: 5, by: boss, forMs });
  assert.equal(effects, [{ kind: "taken_over", epoch: 8, by: boss, from: ops }]);
  assert.is(refusal(state, { kind: "command", atMs: 6, by: ops, epoch: 7 }), "fenced");
  const own = from(held, { kind: "take_over", atMs: 5, by: ops, forMs: 2 * forMs });
  assert.equal([own.effects, own.state.epoch, leaseDueMs(own.state)], [[], 7, 2 * forMs + 5]);
});

machine("commands keep a lease alive, a claim makes it longer, a release ends it", () => {
  const { state } = from(held, { kind: "command", atMs: 9000, by: ops, epoch: 7 });
  assert.is(leaseDueMs(state), 9000 + leaseTermMs.renewed);
  assert.is(leaseDueMs(from(held, { kind: "claim", atMs: 0, by: ops, forMs: 1 }).state), forMs);
  const { state: after, effects } = from(held, { kind: "release", atMs: 1, by: ops });
  assert.equal(after, free);
  assert.equal(effects, [{ kind: "ended", epoch: 7, by: ops, why: "released" }]);
  assert.equal([leaseDueMs(free), leaseDueMs(claimed)], [Infinity, settleMs]);
});

machine("epochs only grow, and no two holders share one", () => {
  const random = new Random(9);
  let state: LeaseState = { kind: "free", epoch: 0 };
  const holders = new Map<number, string>();
  for (let atMs = 0; atMs < 3_000_000; atMs += random.int(400)) {
    const by = random.pick([ops, boss, twin]);
    const { epoch }: LeaseState = state;
    const event: LeaseEvent = random.pick<LeaseEvent>([
      { kind: "claim", atMs, by, forMs: random.int(5000) },
      { kind: "take_over", atMs, by, forMs: random.int(5000) },
      { kind: "command", atMs, by, epoch: random.pick([0, epoch, epoch - 1]) },
      { kind: "release", atMs, by },
      { kind: "tick", atMs },
    ]);
    state = stepLease(stepLease(state, { kind: "tick", atMs }).state, event).state;
    assert.ok(state.epoch >= epoch);
    if (state.kind !== "held") continue;
    const who = `${state.holder.key}/${state.holder.seat}`;
    assert.is(holders.get(state.epoch) ?? who, who);
    holders.set(state.epoch, who);
  }
  assert.ok(holders.size > 1000);
});

machine.run();
