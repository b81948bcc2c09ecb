# about: the card's process is killed in mid-boot; hailoctl ends with an error that says so
# tool: yes
# sim: --fault slow=300
# firmware: --release 5.2.0 --size 2M
# memory: 512
# timeout: 240

card=$(card)
bind_vfio "$card"

hailoctl fw-load /firmware >/tmp/said 2>&1 &
until_true 60 "the first stage is done" grep -q "stage 1 done" /tmp/said
report kill
# The kernel looks for the card for a minute before it lets the process go; what it says comes first.
until_true 120 "hailoctl says that the card is gone" grep -q "the link is down" /tmp/said
check_said "0xffffffff"
