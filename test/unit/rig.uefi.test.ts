/** The partition of a UEFI card is made without root and holds what firmware looks for. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { prepareUefi, type UefiCard, uefiArguments } from "../../agent/rig/uefi.ts";
import { skip } from "../skip.ts";

const rig = suite("rig.uefi");

function isMissing(program: string): boolean {
  return spawnSync(program, ["--version"]).error !== undefined;
}

function cardIn(folder: string): UefiCard {
  const bootFolder = path.join(folder, "boot");
  fs.mkdirSync(path.join(bootFolder, "x64"), { recursive: true });
  for (const name of ["kennel-loader.efi", "kennelwdt.efi"]) {
    fs.writeFileSync(path.join(bootFolder, "x64", name), `this is ${name}`);
  }
  const kernel = path.join(folder, "kernel");
  fs.writeFileSync(kernel, "this is a kernel");
  return {
    arch: "x64",
    watchdog: "tco",
    bootFolder,
    configuration: "timeout = 20\n",
    slots: { a: { kernel, initrd: kernel }, safe: { kernel } },
    folder: path.join(folder, "a card, with a comma"),
  };
}

function read(card: UefiCard, name: string): string {
  const image = path.join(card.folder, "esp.img");
  return spawnSync("mtype", ["-i", image, `::${name}`], { encoding: "utf8" }).stdout;
}

async function partition(): Promise<void> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "kennel-uefi-"));
  try {
    const card = cardIn(folder);
    await prepareUefi(card);
    assert.is(read(card, "/EFI/BOOT/BOOTX64.EFI"), "this is kennel-loader.efi");
    assert.is(read(card, "/EFI/kennel/kennelwdt.efi"), "this is kennelwdt.efi");
    assert.is(read(card, "/EFI/kennel/boot.conf"), "timeout = 20\n");
    assert.is(read(card, "/EFI/kennel/safe/vmlinuz"), "this is a kernel");
    const text = uefiArguments(card).join(" ");
    assert.match(text, "a card,, with a comma/vars.fd");
    assert.match(text, "ICH9-LPC.noreboot=off");
    assert.not.match(text, "i6300esb");
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const name = "a card's partition holds loader, driver, configuration and slots";
const isHere = fs.existsSync("/usr/share/OVMF/OVMF_CODE_4M.fd") && !isMissing("mcopy");
if (isHere && !isMissing("mkfs.vfat")) rig(name, partition);
else skip(name, "needs firmware and tools (Debian: apt-get install ovmf mtools dosfstools)");

rig.run();
