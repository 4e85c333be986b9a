/**
 * What signed commands cost a card: one opened by all the rules, as a multiple of the bare
 * verification by node:crypto in the same run; and what the fastest flood that a line carries
 * takes of a processor, whose loop refreshes the watchdog beside it.
 */
import { failures, Signatures } from "../../agent/heads/signatures.ts";
import { sha256 } from "../../agent/io/digest.ts";
import { verifier } from "../../agent/io/ed25519.ts";
import { SimAuthority } from "../../agent/sim/authority.ts";
import { Random } from "../../agent/sim/random.ts";
import { decodeSigned, toBeSigned } from "../../agent/wire/cose.ts";
import { enframe } from "../../agent/wire/frame.ts";
import { authorised, kidOf, pairs, requestOf, signedBy } from "../commander.ts";
import { type Line, quantile, target } from "./rows.ts";

/** Commands signed beforehand and opened in one turn, and turns of each side. */
const commands = 500;
const turns = 9;
/** Bits on the line per byte, and the usual speed. */
const bitsPerByte = 10;
const baud = 115_200;
const device = "MT2311X00001";
const boot = "12-9f3a61c0";

export function benchAccess(): Line[] {
  const authority = new SimAuthority(verifier, new Random(1));
  authority.write(authorised("ops", "operate"));
  const signatures = new Signatures({ authority, sha256 }, { device, boot }, () => {});
  const pair = pairs.ops;
  const kid = kidOf(pair);
  const hold = requestOf("wdt.hold", { for_ms: 60_000 });
  const openUs: number[] = [];
  const bareUs: number[] = [];
  const checkBare = verifier(pair.publicKey);
  let frameBytes = 0;
  for (let turn = 0; turn <= turns; turn++) {
    const line = {};
    const { nonce } = signatures.session(line, kid);
    const common = { kid, device, boot, nonce, seat: "bench", epoch: 1, untilMs: 5000 };
    const cose = Array.from({ length: commands }, (_, at) =>
      signedBy(pair, { ...common, counter: at + 1 }, hold),
    );
    const split = cose.map((bytes) => decodeSigned(bytes));
    frameBytes = enframe(requestOf("access.signed", { cose: cose[0] })).length;
    const open = timed(() => cose.forEach((bytes) => void signatures.open(bytes, line, 0)));
    const bare = timed(() => {
      for (const { header, payload, signature } of split) {
        if (!checkBare(toBeSigned(header, payload), signature)) throw new Error("it is good");
      }
    });
    // The first turn warms both up.
    if (turn === 0) continue;
    openUs.push(open);
    bareUs.push(bare);
  }
  return rows(median(openUs), median(bareUs), frameBytes, refusedUs(signatures));
}

/** What one more costs of a flood of bad ones, once a line has used up its failures. */
function refusedUs(signatures: Signatures): number {
  const line = {};
  const { nonce } = signatures.session(line, kidOf(pairs.ops));
  const kid = kidOf(pairs.ops);
  const common = { kid, device: "another", boot, nonce, seat: "bench", epoch: 1, untilMs: 5000 };
  const hold = requestOf("wdt.hold", { for_ms: 60_000 });
  const cose = signedBy(pairs.ops, { ...common, counter: 1 }, hold);
  const send = (): void => {
    try {
      signatures.open(cose, line, 0);
    } catch {
      // As it must be.
    }
  };
  for (let sent = 0; sent <= failures.burst; sent++) send();
  return timed(() => {
    for (let sent = 0; sent < commands; sent++) send();
  });
}

function rows(openUs: number, bareUs: number, frameBytes: number, limitedUs: number): Line[] {
  const perSecond = 1_000_000 / openUs;
  const ratio = openUs / bareUs;
  const onLine = baud / bitsPerByte / frameBytes;
  const share = (onLine * openUs) / 10_000;
  return [
    {
      name: "signed commands opened",
      value: `${perSecond.toFixed(0)} per second`,
      note: `${openUs.toFixed(1)} us each, ${ratio.toFixed(2)} x a bare verification`,
    },
    {
      name: "one more bad one, once a line is limited",
      value: `${limitedUs.toFixed(1)} us`,
      note: `from ${failures.burst} at once and ${failures.perS} more a second on`,
    },
    {
      name: `all that a line of ${baud} Bd carries`,
      value: `${share.toFixed(2)} % of a processor`,
      note: `${onLine.toFixed(0)} a second of ${frameBytes} bytes each`,
    },
    target("a signed command within 1.5 x its verification", ratio <= 1.5, ratio.toFixed(2)),
  ];
}

/** Microseconds per command. */
function timed(act: () => void): number {
  const start = performance.now();
  act();
  return ((performance.now() - start) * 1000) / commands;
}

function median(values: readonly number[]): number {
  return quantile(
    [...values].sort((one, other) => one - other),
    0.5,
  );
}
