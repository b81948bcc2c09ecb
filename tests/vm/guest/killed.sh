# killed ROUNDS CARD: kills fw-load at random moments, and looks each time whether anything is left of it.
killed() {
	local round=0 begin span moment victim domains
	canaries 2048
	PINNED=$(pinned)
	domains=$(cat /sys/class/iommu/*/intel-iommu/domains_used 2>/dev/null || true)
	begin=$(uptime_ms)
	check_that "a boot that nobody kills" hailoctl fw-load --force "$FIRMWARE"
	span=$(($(uptime_ms) - begin))
	while [ $round -lt "$1" ]; do
		round=$((round + 1))
		hailoctl fw-load --force "$FIRMWARE" >/dev/null 2>&1 &
		victim=$!
		# Two 15-bit numbers, for a moment anywhere in the span.
		moment=$(((RANDOM * 32768 + RANDOM) % span))
		usleep $((moment * 1000))
		kill -9 $victim 2>/dev/null || true
		wait $victim 2>/dev/null || true
		echo "round $round: killed after $moment of $span ms" >>"$CONSOLE"
		until_true 30 "round $round: the card is closed" closed "$2"
		quiet "$2" "round $round: "
	done
	report "check killed $1 times: no user, no bus mastering, no pinned page, no descriptor left"
	check "domains of the IOMMU" "$(cat /sys/class/iommu/*/intel-iommu/domains_used 2>/dev/null || true)" "$domains"
	check_that "the next process boots it" hailoctl fw-load --force "$FIRMWARE"
	canaries_sing
	shows killed
}

# Milliseconds since the start, to a hundredth of a second.
uptime_ms() { sed 's/^\([0-9]*\)\.\([0-9]*\) .*/\1\20/' /proc/uptime; }

# The kernel closes the card before the process is gone, a guardian soon after: it has the configuration space open.
closed() {
	[ "$(cat "$1/enable")" = 0 ] && [ $(($(config "$1" 4 2) & 4)) = 0 ] && [ "$(pinned)" = "${PINNED:-0}" ] &&
		! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q "/$(basename "$1")/config\$"
}
