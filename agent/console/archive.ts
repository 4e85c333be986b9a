/**
 * The folder in which a host keeps its cards, one store for each, and the card at the end of this
 * line among them: who it is, its state, its reports. One program writes a store at a time.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { Failure } from "../errors.ts";
import { FileDisk } from "../io/disk.ts";
import { type CardState, cardState } from "../wire/cardstate.ts";
import { decodeMap } from "../wire/cbor.ts";
import type { Report } from "../wire/commands.ts";
import { check } from "../wire/shape.ts";
import type { Hello } from "./context.ts";
import type { Gap } from "./inbox.ts";
import type { Link } from "./link.ts";
import { Store } from "./store.ts";

/** Blocks of one state: a card's state is one or two. */
const blocksMax = 64;
/** Times that a state is begun anew because the card took another one meanwhile. */
const attemptsMax = 3;
/** Cards listed of one folder. */
const cardsMax = 4096;

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the stores are when nobody says. Source: XDG Base Directory Specification 0.8. */
export function storeFolder(env: Environment): string {
  const { XDG_STATE_HOME: state = "", HOME: home = "" } = env;
  if (state.startsWith("/")) return join(state, "kennel", "cards");
  if (home !== "") return join(home, ".local", "state", "kennel", "cards");
  throw new Failure("usage.invalid", "where is the store? Set HOME, or give --store DIR.");
}

/** What a card is called on disk. It came over a line: only a harmless name is taken as it is. */
export function cardName({ device, name }: Pick<Hello, "device" | "name">): string {
  const own = device === undefined || device === "unknown" ? `name-${name}` : device;
  if (/^[A-Za-z0-9_][\w.-]{0,63}$/.test(own)) return own;
  return `digest-${createHash("sha256").update(own).digest("hex").slice(0, 32)}`;
}

/** Cards with a store in `folder`, by name. */
export function cardsIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return names.sort().slice(0, cardsMax);
}

/** The store of one card, for reading. Failure `store.missing` when there is none. */
export function readStore(folder: string, card: string): Store {
  const path = join(folder, card);
  if (cardsIn(folder).includes(card)) return new Store(new FileDisk(path), Date.now);
  const known = cardsIn(folder).join(", ");
  const there = known === "" ? "nothing is stored there yet" : `there are ${known}`;
  throw new Failure("store.missing", `no card ${card} in ${folder}: ${there}.`);
}

/** The state of the card as of its last report. Failure of the link. */
export async function askState(link: Link): Promise<CardState> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await stateOf(link);
    } catch (error) {
      // Another console on the same line has taken a state meanwhile: rc 5.
      const isStale = error instanceof Failure && error.evidence.rc === 5;
      if (!isStale || attempt >= attemptsMax) throw error;
    }
  }
}

async function stateOf(link: Link): Promise<CardState> {
  const blocks: Uint8Array[] = [];
  let off = 0;
  let seq: number | undefined;
  for (let asked = 0; asked < blocksMax; asked += 1) {
    const which = seq === undefined ? {} : { off, seq };
    const answer = await link.request("report.state", which);
    if (answer.off !== off || answer.data.length === 0) break;
    seq = answer.seq;
    blocks.push(answer.data);
    off += answer.data.length;
    if (off >= answer.total) return check(cardState, decodeMap(Buffer.concat(blocks)), "state");
  }
  throw new Failure("wire.malformed", "the card's state does not come to an end.");
}

/** `Archive.attach`, with any store. */
export async function attachStore(store: Store, link: Link, keep: boolean): Promise<void> {
  const { device = "unknown", tags, ...hello } = await link.request("card.hello", {});
  const { name, version, boot, uptime_ms } = hello;
  store.card({ device, name, version, boot, uptime_ms });
  if (tags.includes("report.state")) store.state(await askState(link));
  store.flush();
  if (keep) return;
  const { boots } = await link.request("report.snapshot", {});
  for (const known of boots) {
    const seq = store.lastOf(known.boot);
    if (seq <= known.acknowledged) continue;
    await link.request("report.acknowledge", { boot: known.boot, seq });
  }
}

/** `Archive.keep`, with any store. */
export function keepIn(store: Store, reports: readonly Report[], gaps: readonly Gap[]): void {
  for (const gap of gaps) store.gap(gap);
  store.reports(reports);
  store.flush();
}

export class Archive {
  readonly store: Store;
  private readonly lock: Server;

  private constructor(store: Store, lock: Server) {
    this.store = store;
    this.lock = lock;
  }

  /**
   * The store of the card that greeted. Failure `store.busy` when another program has it,
   * `store.failed` when the folder cannot be used.
   */
  static async open(folder: string, hello: Hello): Promise<Archive> {
    const path = join(folder, cardName(hello));
    const disk = attempt(() => new FileDisk(path));
    const lock = await lockOf(path);
    try {
      return new Archive(
        attempt(() => new Store(disk, Date.now)),
        lock,
      );
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  /**
   * Who it is and how it stands: to begin with, after a gap, and with every new connection.
   * `keep`: the card keeps its reports; else those are acknowledged that were stored before, by a
   * run that ended between the two.
   */
  async attach(link: Link, keep: boolean): Promise<void> {
    await attachStore(this.store, link, keep);
  }

  /** Synced on return: the card may forget them. */
  keep(reports: readonly Report[], gaps: readonly Gap[]): void {
    keepIn(this.store, reports, gaps);
  }

  close(): void {
    this.lock.close();
  }
}

/** The disk speaks of an agent's state; here it is a store. */
function attempt<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure("store.failed", `${error.message}.`, { cause: error });
  }
}

/**
 * One writer: a socket without a file, which the kernel takes back with its process, so that no
 * stale lock is ever in the way. Source: unix(7), abstract sockets.
 */
function lockOf(path: string): Promise<Server> {
  const digest = createHash("sha256").update(realpathSync(path)).digest("hex");
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once("error", (error: NodeJS.ErrnoException) => {
      const isHeld = error.code === "EADDRINUSE";
      const why = isHeld ? "another console writes it" : `it cannot be locked: ${error.code}`;
      reject(new Failure(isHeld ? "store.busy" : "store.failed", `the store ${path}: ${why}.`));
    });
    server.listen({ path: `\0kennel-store-${digest}` }, () => resolve(server));
  });
}
