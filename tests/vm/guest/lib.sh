# What scenarios are written with. Sourced by init; the report port is descriptor 9.

# A line for the lab.
report() { echo "$*" | tr '\n' ' ' | sed 's/ *$/\n/' >&9; }

# Ends the run with a reason.
fail() {
	dmesg | tail -n 40 >/dev/console
	report "fail $*"
	poweroff -f
}

# check WHAT FOUND EXPECTED: they must be equal.
check() {
	[ "$2" = "$3" ] || fail "$1: expected '$3', found '$2'"
	report "check $1 is $3"
}

# said COMMAND...: runs the command; what it says is kept for check_said, and goes to the console.
said() {
	local status=0
	"$@" >/tmp/said 2>&1 || status=$?
	cat /tmp/said >/dev/console
	return $status
}

# check_said TEXT: the command before said so.
check_said() {
	grep -qF -- "$1" /tmp/said || fail "not said: $1"
	report "check said: $1"
}

# refused_with STATUS COMMAND...: the command must fail with this exit status.
refused_with() {
	local wanted="$1" status=0
	shift
	said "$@" || status=$?
	check "exit status of $*" $status "$wanted"
}

# check_that WHAT COMMAND...: the command must succeed.
check_that() {
	local what="$1"
	shift
	said "$@" || fail "not so: $what"
	report "check $what"
}

# until_true SECONDS WHAT COMMAND...: repeats the command until it succeeds.
until_true() {
	local tries=$(($1 * 20)) what="$2"
	shift 2
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "did not happen in time: $what"
		usleep 50000
	done
}

# The addresses of all Hailo-10H functions, as the kernel lists them.
cards() {
	local device
	for device in /sys/bus/pci/devices/*; do
		if [ "$(cat "$device/vendor"):$(cat "$device/device")" = 0x1e60:0x45c4 ]; then
			basename "$device"
		fi
	done
}

# The folder of the only card.
card() {
	local found
	found=$(cards)
	[ "$(echo "$found" | wc -w)" = 1 ] || fail "expected one card, found: $found"
	echo "/sys/bus/pci/devices/$found"
}

# bar CARD INDEX: "start size" of a BAR, in hexadecimal and in bytes.
bar() {
	set -- $(sed -n "$(($2 + 1))p" "$1/resource")
	echo "$1 $(($2 - $1 + 1))"
}

# config CARD OFFSET WIDTH: a little-endian value from configuration space, in hexadecimal.
config() {
	local bytes value=""
	bytes=$(od -An -v -tx1 -j "$(($2))" -N "$3" "$1/config")
	for byte in $bytes; do value="$byte$value"; done
	echo "0x$value"
}

# capability CARD ID: the offset of a capability; fails when there is none.
capability() {
	local at
	at=$(($(config "$1" 0x34 1)))
	while [ "$at" -ne 0 ]; do
		if [ $(($(config "$1" $at 1))) -eq $(($2)) ]; then
			printf '0x%x\n' "$at"
			return 0
		fi
		at=$(($(config "$1" $((at + 1)) 1)))
	done
	return 1
}

# extended_capability CARD ID: the same beyond byte 256.
extended_capability() {
	local at=0x100 head
	while [ $((at)) -ne 0 ]; do
		head=$(($(config "$1" $at 4)))
		if [ $((head & 0xffff)) -eq $(($2)) ]; then
			printf '0x%x\n' $((at))
			return 0
		fi
		at=$((head >> 20))
	done
	return 1
}

# driver CARD: the driver that is bound, or "none".
driver() {
	if [ -e "$1/driver" ]; then basename "$(readlink "$1/driver")"; else echo none; fi
}

# bind_vfio CARD: gives the card to vfio-pci, as an administrator would.
bind_vfio() {
	echo vfio-pci >"$1/driver_override"
	if [ -e "$1/driver" ]; then basename "$1" >"$1/driver/unbind"; fi
	basename "$1" >/sys/bus/pci/drivers_probe
}
