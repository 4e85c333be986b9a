/**
 * Leaves a test out and says why: printed, counted and listed by test/run.mjs. The reason also
 * says what enables the test, such as a package to install. In CI nothing that the reason could
 * fix should be left out.
 */
export function skip(name: string, reason: string): void {
  const oneLine = (text: string): string => text.replaceAll(/\s+/g, " ").trim();
  // A colon would end the name on its way through the runner.
  console.log(`SKIP ${oneLine(name).replaceAll(": ", " - ")}: ${oneLine(reason)}`);
}
