#!/bin/sh
# Early userspace: loads the watchdog driver so that the firmware's countdown has no gap, and tells
# the agent in /run/kennel/boot-hook what was done and when. Runs under busybox ash, dash and bash,
# from initramfs-tools and from dracut; which driver wants what: boot/README.md.
#
# Exit: 0 = the boot goes on; 3 = /etc/kennel/boot.conf requires a watchdog and there is none.
#
# No `set -e`: whatever fails here must not keep the rest from guarding the boot.
set -u

# A scratch root and what pretends to load modules, for tests; not set on a card.
root=${KENNEL_ROOT:-}
modprobe=${KENNEL_MODPROBE:-modprobe}
insmod=${KENNEL_INSMOD:-insmod}
conf=$root/etc/kennel/boot.conf
run=$root/run/kennel
pci=$root/sys/bus/pci/devices
core=$root/sys/module/watchdog/parameters

driver=auto
device=auto
method=auto
policy=prefer
# Seconds from here to the agent's first refresh; a card that takes longer is reset.
adopt_within=60
# A folder of .ko files for an initramfs without modprobe; empty = modprobe.
insmod_from=

problem=
note() {
  problem="${problem:+$problem; }$1"
}

# Seconds since the kernel's start, as in `12.34`.
uptime_into() {
  read -r _seconds _idle <"$root/proc/uptime" || _seconds=0
  eval "$1=\$_seconds"
}

# The file's first line, or nothing.
first_line() {
  _line=
  [ -r "$1" ] && read -r _line <"$1"
  printf '%s' "$_line"
}

# Values are words of few characters: a damaged file is noted and never run as shell text.
read_conf() {
  [ -r "$conf" ] || return 0
  while IFS='=' read -r key value || [ -n "$key" ]; do
    case $key in '' | '#'*) continue ;; esac
    case $value in
      *[!A-Za-z0-9_./-]*) note "boot.conf: $key has a value that is no word" && continue ;;
    esac
    case $key in
      driver) driver=$value ;;
      device) device=$value ;;
      insmod_from) insmod_from=$value ;;
      method)
        case $value in
          auto | lock | hold | open_timeout | leave | none) method=$value ;;
          *) note "boot.conf: no method $value" ;;
        esac
        ;;
      policy)
        case $value in
          prefer | require) policy=$value ;;
          *) note "boot.conf: no policy $value" ;;
        esac
        ;;
      adopt_within)
        case $value in
          '' | 0* | *[!0-9]* | ?????*) note "boot.conf: adopt_within is 1 to 9999 seconds" ;;
          *) adopt_within=$value ;;
        esac
        ;;
      *) note "boot.conf: no setting $key" ;;
    esac
  done <"$conf"
}

# The PCI device of this vendor and id, as its sysfs folder.
pci_device() {
  for entry in "$pci"/*; do
    [ "$(first_line "$entry/vendor")" = "$1" ] || continue
    [ "$(first_line "$entry/device")" = "$2" ] || continue
    printf '%s' "$entry"
    return 0
  done
  return 1
}

# The driver of a watchdog that this hook knows; nothing where there is none.
detect_driver() {
  if pci_device 0x8086 0x25ab >/dev/null; then
    printf i6300esb
    return 0
  fi
  for entry in "$root"/sys/bus/platform/devices/sbsa-gwdt*; do
    [ -e "$entry" ] && printf sbsa_gwdt && return 0
  done
  for entry in "$pci"/*; do
    [ "$(first_line "$entry/vendor")" = 0x8086 ] || continue
    case $(first_line "$entry/class") in 0x0601*) printf iTCO_wdt && return 0 ;; esac
  done
  return 1
}

# i6300ESB: byte 0x68 of its PCI configuration has the bits lock (1) and enabled (2). Locked and
# enabled, it counts on whatever the driver does.
is_locked() {
  entry=$(pci_device 0x8086 0x25ab) || return 1
  # Outside the substitution as well: bash tells of a byte that is 0.
  { byte=$(dd if="$entry/config" bs=1 skip=104 count=1); } 2>/dev/null
  # Bit 2 tells how it counts and may be set as well.
  [ "$byte" = "$(printf '\003')" ] || [ "$byte" = "$(printf '\007')" ]
}

choose_method() {
  if [ "$method" = lock ] && [ "$driver" = i6300esb ] && ! is_locked; then
    note "the countdown is not locked: the device is held open instead"
    method=hold
  fi
  [ "$method" = auto ] || return 0
  case $driver in
    # Its probe stops a countdown, unless firmware locked it.
    i6300esb) if is_locked; then method=lock; else method=hold; fi ;;
    # These see a countdown that runs and keep it; the kernel then refreshes until the deadline.
    iTCO_wdt | sbsa_gwdt | imx2_wdt | dw_wdt | aspeed_wdt | npcm_wdt) method=open_timeout ;;
    *) method=hold ;;
  esac
}

# load MODULE [PARAMETER=VALUE...]: a failure is the caller's to judge.
load() {
  name=$1
  shift
  if [ -z "$insmod_from" ]; then
    "$modprobe" -q "$name" "$@"
    return
  fi
  for file in "$root$insmod_from"/*"$name".ko; do
    [ -e "$file" ] && "$insmod" "$file" "$@" 2>/dev/null
    return
  done
}

# The watchdog core decides what happens to a countdown that nobody has opened, and decides it when
# the driver registers: so its settings come first.
load_core() {
  case $method in
    open_timeout)
      load watchdog open_timeout="$adopt_within"
      # Built in or loaded before: this parameter can be written.
      [ "$(first_line "$core/open_timeout")" = "$adopt_within" ] && return 0
      { echo "$adopt_within" >"$core/open_timeout"; } 2>/dev/null
      [ "$(first_line "$core/open_timeout")" = "$adopt_within" ] && return 0
      note "open_timeout could not be set: the device is held open instead"
      method=hold
      ;;
    leave)
      load watchdog handle_boot_enabled=0
      case $(first_line "$core/handle_boot_enabled") in N | 0) return 0 ;; esac
      note "handle_boot_enabled=0 could not be set: the device is held open instead"
      method=hold
      ;;
  esac
}

load_driver() {
  # Without modprobe nobody else loads what every driver needs.
  [ -z "$insmod_from" ] || load watchdog
  case $driver in
    iTCO_wdt)
      # Either of these makes the device that the driver binds to.
      load lpc_ich
      load i2c_i801
      load iTCO_wdt heartbeat="$adopt_within"
      ;;
    i6300esb) load i6300esb heartbeat="$adopt_within" ;;
    sbsa_gwdt) load sbsa_gwdt timeout="$adopt_within" ;;
    auto) ;;
    *) load "$driver" ;;
  esac
}

# The node in /dev: the one that is named, else this driver's, else the first.
find_node() {
  if [ "$device" != auto ]; then
    node=$root$device
    [ -c "$node" ]
    return
  fi
  node=
  for entry in "$root"/sys/class/watchdog/watchdog*; do
    [ -c "$root/dev/${entry##*/}" ] || continue
    [ -n "$node" ] || node=$root/dev/${entry##*/}
    module=$(readlink "$entry/device/driver/module") || continue
    [ "${module##*/}" = "$driver" ] && node=$root/dev/${entry##*/} && return 0
  done
  [ -n "$node" ]
}

# Registration makes the node at once; two seconds are for a driver that probes on its own time.
wait_for_node() {
  tries=0
  until find_node; do
    tries=$((tries + 1))
    # No driver was loaded, so nothing is on its way.
    [ "$tries" -le 20 ] && [ "$driver" != auto ] || return 1
    sleep 0.1 2>/dev/null || sleep 1
  done
}

# Becomes a process that does nothing but have the device open: nobody refreshes, so the agent has
# until the driver's timeout. Its end closes the device without the magic character.
hold() {
  # Whoever reads what the hook says must not wait for this process.
  [ -c /dev/null ] && exec </dev/null >/dev/null 2>&1
  forever=2147483647
  sleeper=$(command -v sleep)
  if [ -d "$root/run/systemd/system" ] && [ -x "$sleeper" ]; then
    # systemd ends everything at switch_root but processes whose first argument begins with @.
    ln -sf "$sleeper" "$run/@kennel-hold"
    cd "$run" || exit 1
    PATH=. exec @kennel-hold "$forever"
  fi
  exec sleep "$forever"
}

write_record() {
  {
    echo "version=1"
    echo "driver=$driver"
    echo "method=$method"
    echo "device=${node#"$root"}"
    echo "began=$began"
    [ -z "$loaded" ] || echo "loaded=$loaded"
    [ -z "$opened" ] || echo "opened=$opened"
    [ -z "$left" ] || echo "left=$left"
    [ -z "$holder" ] || echo "holder=$holder"
    echo "adopt_within=$adopt_within"
    echo "before=$before"
    [ -z "$problem" ] || echo "problem=$problem"
  } >"$run/boot-hook.new" && mv "$run/boot-hook.new" "$run/boot-hook"
}

say() {
  { echo "kennel: $1" >"$root/dev/kmsg"; } 2>/dev/null
}

mkdir -p "$run"
began=0
uptime_into began
loaded=
opened=
left=
holder=
node=
read_conf
# A watchdog that was there before us: its driver is built in, and what happened to a countdown
# until now is not ours to tell.
before=no
find_node && before=yes
[ "$driver" != auto ] || driver=$(detect_driver) || driver=auto
choose_method
[ "$method" = none ] || { load_core && load_driver; }
if [ "$method" != none ] && wait_for_node; then
  uptime_into loaded
  # What has changed when the agent looks has counted: a driver may show this of one that stopped.
  left=$(first_line "$root/sys/class/watchdog/${node##*/}/timeleft" 2>/dev/null)
  if [ "$method" = hold ]; then
    # One step after the driver came up; the holder has the descriptor when this shell lets it go.
    {
      hold &
      holder=$!
    } 9>"$node" || note "${node#"$root"} could not be opened"
    [ -z "$holder" ] || uptime_into opened
  fi
  write_record
  say "watchdog $driver, method $method${problem:+, $problem}"
  exit 0
fi
[ "$method" = none ] || note "no watchdog was found"
write_record
say "${problem:-the hook is switched off}"
if [ "$policy" = require ]; then
  exit 3
fi
exit 0
