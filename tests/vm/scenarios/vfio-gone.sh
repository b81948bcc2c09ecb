# about: a card that falls off the bus in mid-transfer ends the command, and comes back with the next
# tool: yes
# sim: --fault all-ones-after=57965
# firmware: --release 5.2.0 --size 2M
# arrives: yes
# memory: 512
# timeout: 300

card=$(card)
bind_vfio "$card"

refused_with 5 hailoctl fw-load /firmware
check_said "the link is down"
check "users of the card" "$(cat "$card/enable")" 0
check_that "the next boot" hailoctl fw-load /firmware
