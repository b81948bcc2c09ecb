# about: an ordinary user with the group's node boots the chip; without it, or without memory to lock, is told so
# tool: yes
# firmware: --release 5.2.0 --size 2M
# arrives: yes
# memory: 512
# timeout: 180

card=$(card)
bind_vfio "$card"
node=/dev/vfio/$(basename "$(readlink "$card/iommu_group")")
mkdir /etc
echo 'user:x:1000:1000::/:/bin/sh' >/etc/passwd
as_user() { su user -c "$*"; }

refused_with 4 as_user hailoctl identify
check_said "no permission for $node"

chown 1000:1000 "$node"
little_memory() { (ulimit -l 16 && as_user "$@"); }
refused_with 4 little_memory hailoctl fw-load /firmware
check_said "can't be locked for the device"
check_said "LimitMEMLOCK"

check_that "an ordinary user boots the chip" as_user hailoctl fw-load /firmware
