/** What one command is on the wire: its ids, and the shapes of what is asked and answered. */
import type { Shape } from "./shape.ts";

export interface Command<Request, Response> {
  readonly group: number;
  readonly id: number;
  /** SMP operation of the request; `either` takes both, as echo does. */
  readonly op: "read" | "write" | "either";
  readonly request: Shape<Request>;
  readonly response: Shape<Response>;
}

export function command<Q, R>(
  group: number,
  id: number,
  op: Command<Q, R>["op"],
  request: Shape<Q>,
  response: Shape<R>,
): Command<Q, R> {
  return { group, id, op, request, response };
}

/** Largest SMP packet (header and CBOR) either side sends: 0.25 s of line time at 115200 Bd. */
export const packetBytesMax = 2048;
