# about: the chip serves a second guest after the first was killed with the card in use
# boots: 2

card=$(card)
command=$(($(config "$card" 4 2)))
check "bus mastering when a guest starts" $((command & 4)) 0

bind_vfio "$card"
echo 1 >"$card/reset"
# Bits 1 and 2 of the command register: memory and bus mastering.
switch_on() { printf '\006' | dd of="$card/config" bs=1 seek=4 conv=notrunc 2>/dev/null; }
check_that "memory and bus mastering can be switched on" switch_on
check "command register" $(($(config "$card" 4 2) & 6)) 6
