import { Failure } from "../errors.ts";

/** What a program sees when a call, or the connection, comes to nothing: see declarations.ts. */
export class TeeError extends Failure {
  override readonly name = "TeeError";
}
