# What scenarios are written with. Sourced by init, and by hw-tests/run. Descriptor 9 is the report port; `stop`
# ends a run; LAB, SCRATCH, CONSOLE and FIRMWARE are places; CARD is set where the card is a given one.

# A line for the lab.
report() { echo "$*" | tr '\n' ' ' | sed 's/ *$/\n/' >&9; }

# Ends the run with a reason.
fail() {
	dmesg | tail -n 40 >>"$CONSOLE"
	report "fail $*"
	stop
}

# check WHAT FOUND EXPECTED: they must be equal.
check() {
	[ "$2" = "$3" ] || fail "$1: expected '$3', found '$2'"
	report "check $1 is $3"
}

# said COMMAND...: runs the command; what it says is kept for check_said, and goes to the console.
said() {
	local status=0
	"$@" >"$SCRATCH/said" 2>&1 || status=$?
	cat "$SCRATCH/said" >>"$CONSOLE"
	return $status
}

# check_said TEXT: the command before said so.
check_said() {
	grep -qF -- "$1" "$SCRATCH/said" || fail "not said: $1"
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

# ends_with STATUS PROCESS: the process in the background must end with this exit status.
ends_with() {
	local status=0
	wait "$2" || status=$?
	check "exit status of process $2" $status "$1"
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

# The folder of the only card, or of the given one.
card() {
	local found
	if [ -n "${CARD:-}" ]; then
		echo "$CARD"
		return
	fi
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

# allow_no_iommu: settles that hailoctl may open cards without an IOMMU.
allow_no_iommu() {
	mkdir -p /etc
	echo 'allow_no_iommu = true' >/etc/hailoctl.toml
}

# way: by which way hailoctl opens the card.
way() {
	hailoctl -v identify 2>&1 | sed -n \
		-e 's/.*opened by VFIO device.*/cdev/p' -e 's/.*opened by VFIO group without IOMMU.*/noiommu/p' \
		-e 's/.*opened by VFIO group$/group/p' -e 's/.*opened by sysfs.*/sysfs/p'
}

# shows WHAT: this was shown by the way that hailoctl takes; goes into the table of docs/hardware/kernels.md.
shows() {
	[ -n "${WAY:-}" ] || WAY=$(way)
	[ -n "$WAY" ] || fail "hailoctl does not say by which way it opens the card"
	report "shows $WAY $1"
}

# canaries PAGES: fills so many pages of memory that no device has to do with.
canaries() {
	yes canary | head -c $(($1 * $(page_size))) >"$SCRATCH/canary"
	CANARY=$(md5sum <"$SCRATCH/canary")
}

# canaries_sing: they are unwritten.
canaries_sing() {
	[ "$(md5sum <"$SCRATCH/canary")" = "$CANARY" ] || fail "memory was written that no device has to do with"
	report "canary $(($(stat -c %s "$SCRATCH/canary") / $(page_size)))"
}

# page_size: the size of a page.
page_size() {
	local kib
	kib=$(sed -n '/^KernelPageSize:/{s/[^0-9]//g;p;q}' /proc/self/smaps)
	echo $((kib * 1024))
}

# pinned: pages that the kernel holds in place for devices. Each processor keeps its last counts to itself for up to
# a second; stat_refresh collects them (without it, what one has acquired and another released can't be compared).
pinned() {
	if [ -e /proc/sys/vm/stat_refresh ]; then echo 1 >/proc/sys/vm/stat_refresh; fi
	echo $(($(sed -n -e 's/^nr_foll_pin_acquired //p' -e 's/^nr_foll_pin_released /-/p' /proc/vmstat)))
}

# iommu_faults: accesses that an IOMMU has refused, by the kernel's log.
iommu_faults() { dmesg | grep -c -e 'DMAR:.*fault addr' -e 'page fault from EP' -e 'IO_PAGE_FAULT' || true; }

# quiet CARD: nothing is left of whoever used the card.
quiet() {
	[ "$(cat "$1/enable")" = 0 ] || fail "${2:-}the card is still in use"
	[ $(($(config "$1" 4 2) & 4)) = 0 ] || fail "${2:-}bus mastering is on"
	[ "$(pinned)" = "${PINNED:-0}" ] || fail "${2:-}$(pinned) pages are still pinned for the card"
	! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E '/dev/vfio/|/dev/iommu|anon_inode:.vfio|/resource[0-9]' ||
		fail "${2:-}a descriptor is left"
}
