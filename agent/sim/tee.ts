/** The twin of a TEE. First form: one that is absent. */
export class SimTee {
  crash(): void {}
  powerCycle(): void {}
  facts() {
    const base = { present: false, usable: false, simulated: true, name: "sim", powers: [] };
    return { ...base, hardwareStatus: false, because: "absent" };
  }
  perform(): void {}
}
