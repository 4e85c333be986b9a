/**
 * Who of those that wait goes into the TEE next. Its threads are few, and one that waits inside
 * looks like one that hangs: so only a few calls go in at once, and no user has all the places.
 */

/**
 * Calls inside at once, and those of one user. Three times the threads of a usual TEE OS (2) keep
 * it busy.
 */
export const placesMax = { all: 6, ofUser: 4 } as const;

export class Places {
  /** Calls inside, by user. */
  private readonly inside = new Map<number, number>();

  enter(uid: number): void {
    this.inside.set(uid, (this.inside.get(uid) ?? 0) + 1);
  }

  leave(uid: number): void {
    const count = (this.inside.get(uid) ?? 0) - 1;
    if (count <= 0) this.inside.delete(uid);
    else this.inside.set(uid, count);
  }

  /** The first one of the user with the fewest inside; none while there is no place for it. */
  next<T>(waiting: readonly T[], uidOf: (one: T) => number): T | undefined {
    let all = 0;
    for (const count of this.inside.values()) all += count;
    if (all >= placesMax.all) return undefined;
    let best: T | undefined;
    let least: number = placesMax.ofUser;
    for (const one of waiting) {
      const count = this.inside.get(uidOf(one)) ?? 0;
      if (count < least) [best, least] = [one, count];
    }
    return best;
  }
}
