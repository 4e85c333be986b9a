/**
 * The part of serialport that Kennel uses. Its Linux binding is imported by a deep path, because
 * the package's index also loads the bindings of other systems.
 */
declare module "@serialport/bindings-cpp/dist/linux" {
  import type { LinuxBindingInterface } from "@serialport/bindings-cpp";
  export const LinuxBinding: LinuxBindingInterface;
}
