/**
 * Error codes that the standard groups have of their own, and what version 1 calls each (Zephyr,
 * include/zephyr/mgmt/mcumgr/grp and the `translate_error_code` of each group).
 */
import { Failure, type RcName, rcs } from "../errors.ts";

interface GroupError {
  readonly group: number;
  readonly rc: number;
  /** The same in version 1, which knows no codes of groups. */
  readonly v1: RcName;
  /** For people, where the card says nothing in words. */
  readonly meaning: string;
}

function error(group: number, rc: number, v1: RcName, meaning: string): GroupError {
  return { group, rc, v1, meaning };
}

export const groupErrors = {
  "os.unknown": error(0, 1, "unknown", "it did not work"),
  "os.format": error(0, 2, "invalid", "a letter of the format is unknown"),
  "os.no_answer": error(0, 3, "no_entry", "it has no answer to this query"),
  "os.clock_not_set": error(0, 4, "no_entry", "its clock is not set"),
  "os.clock_failed": error(0, 5, "unknown", "its clock cannot be set"),
  "os.query_value": error(0, 6, "invalid", "the query's value is not valid"),
  "statistics.group": error(2, 2, "no_entry", "there is no such group of statistics"),
  "settings.unknown": error(3, 1, "unknown", "it did not work"),
  "settings.too_long": error(3, 2, "invalid", "the name is too long"),
  "settings.not_found": error(3, 3, "no_entry", "there is no such setting"),
  "settings.no_root": error(3, 5, "unknown", "there are no settings of this kind"),
  "settings.read_only": error(3, 6, "unknown", "this setting cannot be written"),
  "settings.no_delete": error(3, 7, "unknown", "this setting cannot be deleted"),
  "files.name": error(8, 2, "invalid", "that is no file name"),
  "files.not_found": error(8, 3, "no_entry", "there is no such file"),
  "files.folder": error(8, 4, "unknown", "that is a folder"),
  "files.beyond_end": error(8, 12, "unknown", "the offset is beyond the end of the file"),
  "files.hash_type": error(8, 13, "invalid", "it does not know this kind of hash"),
  "files.no_folder": error(8, 14, "no_entry", "there is no such folder"),
  "files.read_only": error(8, 15, "unknown", "its files cannot be written"),
  "files.empty": error(8, 16, "unknown", "the file is empty"),
  "enumeration.too_many": error(10, 2, "invalid", "too many groups were asked for"),
  "enumeration.index": error(10, 4, "unknown", "there are not so many groups"),
} as const satisfies Record<string, GroupError>;
export type GroupErrorName = keyof typeof groupErrors;

/** A failure for which a standard group has a code of its own. */
export class GroupFailure extends Failure {
  readonly error: GroupError;

  constructor(name: GroupErrorName, message: string) {
    super("standard.refused", message, { evidence: { error: name } });
    this.error = groupErrors[name];
  }

  override get rc(): number {
    return rcs[this.error.v1];
  }
}

/** What a standard group's code means; null for codes not known here. */
export function groupErrorMeaning(group: unknown, rc: unknown): string | null {
  const found = Object.values(groupErrors).find((one) => one.group === group && one.rc === rc);
  return found?.meaning ?? null;
}
