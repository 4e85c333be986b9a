/** What one command is on the wire: its ids, and the shapes of what is asked and answered. */
import type { Shape } from "./shape.ts";

/** What whoever sends a command must be authorised for; see machines/authorizedkeys.ts. */
export type Need = "operate" | "danger" | "rig";

export interface Command<Request, Response> {
  readonly group: number;
  readonly id: number;
  /** SMP operation of the request; `either` takes both, as echo does. */
  readonly op: "read" | "write" | "either";
  readonly request: Shape<Request>;
  readonly response: Shape<Response>;
  /** null: it changes nothing, and needs no more than reading does. */
  readonly needs: Need | null;
}

export function command<Q, R>(
  group: number,
  id: number,
  op: Command<Q, R>["op"],
  request: Shape<Q>,
  response: Shape<R>,
  needs: Need | null = op === "write" ? "operate" : null,
): Command<Q, R> {
  return { group, id, op, request, response, needs };
}

/** Largest SMP packet (header and CBOR) either side sends: 0.25 s of line time at 115200 Bd. */
export const packetBytesMax = 2048;
