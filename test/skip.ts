/**
 * Leaves a test out and says why; test/run.mjs counts and lists it. Stands in place of the test:
 *
 *     if (qemu) boots("a guest boots", ...);
 *     else skip("a guest boots", "needs qemu (Debian: apt-get install qemu-system-x86)");
 */
let isLoading = true;
process.nextTick(() => {
  isLoading = false;
});

/** The reason says what would enable the test. Throws once tests run: there it would hide one. */
export function skip(name: string, reason: string): void {
  if (!isLoading) throw new Error("skip() stands in place of a test, not inside of one");
  const oneLine = (text: string): string => text.replaceAll(/\s+/g, " ").trim();
  // The runner takes the first colon for the end of the name.
  console.log(`SKIP ${oneLine(name).replaceAll(": ", " - ")}: ${oneLine(reason)}`);
}
