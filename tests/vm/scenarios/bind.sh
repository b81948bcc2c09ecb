# about: bind and unbind on a real kernel, with undo; link, doctor and report on it
# kernels: cloud-amd64
# real: yes
# tool: yes
# memory: 512

card=$(card)
address=$(basename "$card")
check "driver at first" "$(driver "$card")" none

hailoctl bind --dry-run >"$SCRATCH/plan"
check "driver after a dry run" "$(driver "$card")" none
check_that "bind" hailoctl bind --yes
check "driver after bind" "$(driver "$card")" vfio-pci
check_that "bind again has nothing to do" hailoctl bind --yes
check_that "the card is ready" sh -c "hailoctl scan | grep -q 'ready by VFIO'"

check_that "link sees the way" sh -c "hailoctl link | grep -q 'host port'"
hailoctl doctor >"$SCRATCH/doctor" && code=0 || code=$?
cat "$SCRATCH/doctor" >>"$CONSOLE"
report "doctor ends with $code: $(grep -c '^info\|^warning\|^error ' "$SCRATCH/doctor") findings"
[ "$code" != 11 ] || fail "doctor finds errors: $(grep '^error ' "$SCRATCH/doctor")"
check_that "report" hailoctl report "$SCRATCH/report.tar"
mkdir "$SCRATCH/there" && tar -xf "$SCRATCH/report.tar" -C "$SCRATCH/there"
hailoctl link --json >"$SCRATCH/link-here"
hailoctl link --json --sysfs-root "$SCRATCH/there" >"$SCRATCH/link-there"
check_that "the report shows the same way" cmp "$SCRATCH/link-here" "$SCRATCH/link-there"

check_that "unbind" hailoctl unbind --yes
check "driver after unbind" "$(driver "$card")" none
check "choice after unbind" "$(cat "$card/driver_override")" "(null)"

# Where vfio-pci does not take the card, all is as before. On a real machine the rescan may give it to somebody.
if [ -z "${CARD:-}" ]; then
	echo 1 >"$card/remove"
	! hailoctl bind -d "$address" --yes || fail "a card that is gone was bound"
	echo 1 >/sys/bus/pci/rescan
	check "driver after a rescan" "$(driver "$card")" none
fi
