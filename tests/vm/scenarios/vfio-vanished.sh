# about: the card's process is killed in mid-boot, as if the card were pulled out; hailoctl says so
# tool: yes
# sim: --fault stall-stage=2
# firmware: --release 5.2.0 --size 512K
# memory: 512
# timeout: 240

card=$(card)
bind_vfio "$card"
hailoctl fw-load /firmware >/tmp/said 2>&1 &
victim=$!
until_true 60 "the first stage is done" grep -q "stage 1 done" /tmp/said
# QEMU fails an assertion when the process goes with requests unread, so it goes while hailoctl waits for the
# second stage, which does not come. `vfio-gone` loses cards in mid-transfer.
ticks() { cut -d ' ' -f 14,15 "/proc/$victim/stat"; }
waits() {
	local before
	before=$(ticks)
	usleep 500000
	[ "$(ticks)" = "$before" ]
}
until_true 60 "hailoctl waits" waits
report kill
# The kernel looks for the card for a minute before it lets the process go; what it says comes first.
until_true 120 "hailoctl says that the card is gone" grep -q "the link is down" /tmp/said
check_said "0xffffffff"
report "shows group vanished"
