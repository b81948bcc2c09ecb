# about: twenty times the card falls off the bus, each time later in a boot; the command ends, and the next boot works
# tool: yes
# sim: --fault all-ones-after=2900,all-ones-after=5800,all-ones-after=8700,all-ones-after=11600,all-ones-after=14500,all-ones-after=17400,all-ones-after=20300,all-ones-after=23200,all-ones-after=26100,all-ones-after=29000,all-ones-after=31900,all-ones-after=34800,all-ones-after=37700,all-ones-after=40600,all-ones-after=43500,all-ones-after=46400,all-ones-after=49300,all-ones-after=52200,all-ones-after=55100,all-ones-after=58000
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# memory: 512

canaries 2048
card=$(card)
bind_vfio "$card"
PINNED=$(pinned)
# A reset of the slot brings a lost card back; by another one the kernel would wait for it for a minute.
echo bus >"$card/reset_method"
round=0
while [ $round -lt 20 ]; do
	round=$((round + 1))
	refused_with 5 hailoctl fw-load /firmware
	check_said "the link is down"
	quiet "$card" "round $round: "
done
report "check lost 20 times: no user, no bus mastering, no pinned page, no descriptor left"
check_that "the next boot" hailoctl fw-load /firmware
quiet "$card"
canaries_sing
shows lost
