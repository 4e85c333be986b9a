/** Writes a PCI option ROM around a UEFI driver (PCI Firmware Specification 3.3, chapter 5). */

const unitBytes = 512;
const pcirAt = 0x1c;
const headBytes = 0x40;
const machines = { x64: 0x8664, aa64: 0xaa64 };
const bootServiceDriver = 11;
const codeTypeUefi = 3;
const lastImage = 0x80;

/** `vendor` and `device` must be the card's: firmware ignores a ROM of another one. */
export function optionRom(driver, arch, { vendor, device }) {
  const units = Math.ceil((headBytes + driver.length) / unitBytes);
  const rom = Buffer.alloc(units * unitBytes);
  rom.writeUInt16LE(0xaa55, 0);
  rom.writeUInt16LE(units, 2);
  rom.writeUInt32LE(0x0ef1, 4);
  rom.writeUInt16LE(bootServiceDriver, 8);
  rom.writeUInt16LE(machines[arch], 10);
  rom.writeUInt16LE(headBytes, 0x16);
  rom.writeUInt16LE(pcirAt, 0x18);
  rom.write("PCIR", pcirAt, "latin1");
  rom.writeUInt16LE(vendor, pcirAt + 4);
  rom.writeUInt16LE(device, pcirAt + 6);
  rom.writeUInt16LE(0x1c, pcirAt + 10);
  rom[pcirAt + 12] = 3;
  // Class: a system peripheral, other.
  rom[pcirAt + 14] = 0x80;
  rom[pcirAt + 15] = 0x08;
  rom.writeUInt16LE(units, pcirAt + 16);
  rom[pcirAt + 20] = codeTypeUefi;
  rom[pcirAt + 21] = lastImage;
  driver.copy(rom, headBytes);
  return rom;
}
