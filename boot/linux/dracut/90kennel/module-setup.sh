#!/bin/bash
# dracut module: Kennel's boot hook, before udev loads the watchdog driver without its settings.

check() {
  return 0
}

depends() {
  return 0
}

installkernel() {
  hostonly='' instmods watchdog i6300esb lpc_ich i2c_i801 iTCO_wdt sbsa_gwdt
  local named
  named=$(sed -n 's/^driver=\([A-Za-z0-9_-]*\)$/\1/p' /etc/kennel/boot.conf 2>/dev/null)
  if [[ -n $named && $named != auto ]]; then
    hostonly='' instmods "$named"
  fi
}

install() {
  inst_simple /usr/lib/kennel/boot-hook.sh
  inst_multiple -o /etc/kennel/boot.conf
  inst_multiple dd mkdir mv ln readlink sleep
  # shellcheck disable=SC2154 # moddir is dracut's
  inst_hook pre-udev 00 "$moddir/kennel.sh"
}
