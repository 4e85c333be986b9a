/**
 * The part of serialport that Kennel uses. Its Linux binding is imported by a deep path, because
 * the package's index also loads the bindings of other systems.
 */
declare module "@serialport/bindings-cpp/dist/linux" {
  import type { LinuxBindingInterface } from "@serialport/bindings-cpp";
  export const LinuxBinding: LinuxBindingInterface;
}

declare module "@serialport/bindings-cpp/dist/unix-read" {
  import type { LinuxPortBinding } from "@serialport/bindings-cpp";
  /** Reads what is there, or waits for something; repeats a read of nothing without end. */
  export function unixRead(options: {
    binding: LinuxPortBinding;
    buffer: Buffer;
    offset: number;
    length: number;
    fsReadAsync: (
      fd: number,
      buffer: Buffer,
      offset: number,
      length: number,
      position: null,
    ) => Promise<{ bytesRead: number; buffer: Buffer }>;
  }): Promise<{ bytesRead: number; buffer: Buffer }>;
}
