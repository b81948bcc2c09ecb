# about: a second process is told who holds the card; a killed one leaves it usable
# kernels: cloud-amd64 custom-amd64
# real: yes
# tool: yes
# sim: --fault slow=300
# firmware: --release 5.2.0 --size 512K
# memory: 512

card=$(card)
bind_vfio "$card"

hailoctl fw-load "$FIRMWARE" >"$SCRATCH/first" 2>&1 &
first=$!
held() { [ "$(cat "$card/enable")" != 0 ]; }
until_true 30 "the first process opens the card" held
# It holds the card for as long as it takes the second one to come.
kill -STOP $first
refused_with 1 hailoctl identify
check_said "can't be opened: in use by hailoctl (pid $first)"

kill -9 $first
wait $first 2>/dev/null || true
check "users of the card after SIGKILL" "$(cat "$card/enable")" 0
check "bus mastering after SIGKILL" $(($(config "$card" 4 2) & 4)) 0
check_that "the next process boots it" hailoctl fw-load "$FIRMWARE"
shows held
