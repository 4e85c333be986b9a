/** The key with which a rig commands a card whose story is about who may. */
import { Authority } from "../console/authority.ts";
import type { Link } from "../console/link.ts";
import type { Clock } from "../io/clock.ts";
import { sha256 } from "../io/digest.ts";
import { newKeyPair, signEd25519 } from "../io/ed25519.ts";
import { publicBlob, publicLine } from "../io/sshkey.ts";

/** Made anew for each run: what a rig leaves behind opens nothing. */
export class RigKey {
  private readonly pair = newKeyPair();
  private readonly blob = publicBlob(this.pair.publicKey);

  /** The line of authorized_keys that lets it do everything. */
  get line(): string {
    return `kennel="operate,danger,rig" ${publicLine(this.blob, "rig")}`;
  }

  /** From now on what takes authority goes out signed. */
  signFor(link: Link, clock: Clock): void {
    const { pair } = this;
    const sign = async (data: Uint8Array): Promise<Uint8Array> => signEd25519(pair, data);
    const signer = { kid: sha256(this.blob), where: "the rig", isSlow: false, sign };
    link.authority = new Authority(link, {
      clock,
      tags: ["access.keys"],
      signers: async () => [signer],
      seat: "rig",
      device: undefined,
    });
  }
}
