#!/bin/sh
# Sourced by dracut.
_kennel_status=0
/bin/sh /usr/lib/kennel/boot-hook.sh || _kennel_status=$?
if [ "$_kennel_status" = 3 ]; then
  die "kennel: no watchdog was found and /etc/kennel/boot.conf requires one"
fi
