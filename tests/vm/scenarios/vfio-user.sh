# about: with the udev rule a member of the group does everything; without it, or without memory to lock, is told so
# kernels: cloud-amd64 custom-amd64
# tool: yes
# udev: yes
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# memory: 512

card=$(card)
mkdir -p /etc/udev/rules.d /run
check "group of the rules" "$(grep ^g /repository/udev/hailo.sysusers.conf)" "g hailo -"
echo 'user:x:1000:1000::/:/bin/sh' >/etc/passwd
printf 'root:x:0:\nuser:x:1000:\nhailo:x:1001:user\n' >/etc/group
as_user() { su user -c "$*"; }
little_memory() { (ulimit -l 16 && as_user "$@"); }

/lib/systemd/systemd-udevd --daemon
bind_vfio "$card"
udevadm settle
refused_with 4 as_user hailoctl identify
check_said "no permission for /dev/vfio/"

cp /repository/udev/60-hailo.rules /etc/udev/rules.d/
udevadm control --reload
hailoctl unbind --yes
bind_vfio "$card"
udevadm trigger --subsystem-match=misc --subsystem-match=vfio-dev --action=add
udevadm settle
ls -lR /dev/vfio /dev/hailo /dev/iommu >/dev/console 2>&1 || true

refused_with 4 little_memory hailoctl fw-load /firmware
check_said "can't be locked for the device"
check_said "LimitMEMLOCK"
check_that "a user scans" as_user hailoctl scan
check_that "a user looks at the link" as_user hailoctl link
check_that "a user identifies" as_user hailoctl identify
check_that "a user reads registers" as_user hailoctl regs
check_that "a user resets" as_user hailoctl reset --yes
check_that "a user boots the chip" as_user hailoctl fw-load /firmware
refused_with 11 as_user hailoctl doctor
check_said "M-06"
enough_memory() { (ulimit -l 1048576 && as_user "$@"); }
enough_memory hailoctl doctor >/dev/console || [ $? != 11 ] || fail "doctor finds errors"
if [ -e /dev/iommu ]; then check_that "the card has its stable name" test -c "/dev/hailo/$(basename "$card")"; fi
quiet "$card"
shows user
