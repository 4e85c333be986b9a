/** Tasks that check in with deadlines of their own: the list behind the verdict. Pure. */

export interface Task {
  readonly name: string;
  /** The task promises to check in at least this often. */
  readonly everyMs: number;
  readonly dueMs: number;
  /** How often it was late. */
  readonly late: number;
}

/** The list with `name` registered anew, due `everyMs` from now; null when there is no room. */
export function withTask(
  tasks: readonly Task[],
  add: { atMs: number; name: string; everyMs: number },
  tasksMax: number,
): Task[] | null {
  const others = tasks.filter((task) => task.name !== add.name);
  if (others.length >= tasksMax) return null;
  const { name, everyMs, atMs } = add;
  return [...others, { name, everyMs, dueMs: atMs + everyMs, late: 0 }];
}

/** The list after a check-in; null when nobody of that name is registered. */
export function withCheckIn(
  tasks: readonly Task[],
  checkIn: { atMs: number; task: string },
): Task[] | null {
  if (!tasks.some((task) => task.name === checkIn.task)) return null;
  return tasks.map((task) =>
    task.name === checkIn.task ? { ...task, dueMs: checkIn.atMs + task.everyMs } : task,
  );
}

/** The list with one more lateness counted for `name`. */
export function withLate(tasks: readonly Task[], name: string): Task[] {
  return tasks.map((task) => (task.name === name ? { ...task, late: task.late + 1 } : task));
}

/** Everybody's deadline counted from now: after a hold or at arming nobody is late. */
export function rebased(tasks: readonly Task[], atMs: number): Task[] {
  return tasks.map((task) => ({ ...task, dueMs: atMs + task.everyMs }));
}

/** The first task that missed its deadline. */
export function overdue(tasks: readonly Task[], atMs: number): Task | undefined {
  return tasks.find((task) => task.dueMs <= atMs);
}
