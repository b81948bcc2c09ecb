# about: killed at twenty different moments of a boot, hailoctl leaves a quiet card that the next one boots
# tool: yes
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# memory: 512
# timeout: 300

card=$(card)
bind_vfio "$card"

round=0
while [ $round -lt 20 ]; do
	hailoctl fw-load /firmware >/dev/null 2>&1 &
	victim=$!
	usleep $((round * 90000))
	kill -9 $victim 2>/dev/null || true
	wait $victim 2>/dev/null || true
	[ "$(cat "$card/enable")" = 0 ] || fail "round $round: the card is still in use"
	[ $(($(config "$card" 4 2) & 4)) = 0 ] || fail "round $round: bus mastering is on"
	round=$((round + 1))
done
check_that "the next process boots it" hailoctl fw-load /firmware
check "faults of the IOMMU" "$(dmesg | grep -c 'DMAR:.*fault addr')" 0
