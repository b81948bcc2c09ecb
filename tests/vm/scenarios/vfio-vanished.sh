# about: the card's process is killed in mid-boot, as if the card were pulled out; hailoctl says so
# tool: yes
# sim: --fault stall-stage=2
# firmware: --release 5.2.0 --size 512K
# memory: 512

card=$(card)
bind_vfio "$card"
hailoctl --json fw-load /firmware >/tmp/said 2>&1 &
victim=$!
until_true 60 "the second stage is waited for" grep -q '"stage":2,"phase":"wait"' /tmp/said
# QEMU fails an assertion when the process goes with requests unread, so it goes while nobody makes any: hailoctl is
# stopped, and the last request is one that was answered. `vfio-gone` loses cards in mid-transfer.
kill -STOP $victim
stands() { ! grep -h '^State:' /proc/$victim/task/*/status | grep -qvF 'T (stopped)'; }
until_true 60 "hailoctl stands" stands
check "vendor of the card" "$(config "$card" 0 2)" 0x1e60
report kill
read -r answer <&9
check "the card's process" "$answer" gone
kill -CONT $victim
# The kernel looks for the card for a minute before it lets the process go; what it says comes first.
until_true 120 "hailoctl says that the card is gone" grep -q "the link is down" /tmp/said
check_said "0xffffffff"
report "shows group vanished"
